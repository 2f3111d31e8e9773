import { existsSync } from 'node:fs';
import { constants, type FileHandle, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UNFINISHED_PACK } from '../archive/create.js';
import type { Manifest } from '../archive/manifest.js';
import { requireSame, requireSameHead } from '../archive/spec.js';
import type { TrainingCheckpoints, TrainingState } from '../codecs/checkpoints.js';
import type { Pilot } from '../codecs/descriptor.js';
import { sha256 } from '../container/checksum.js';
import { NO_FOLLOW, removeTemporaries } from '../container/durable.js';
import { readTensorFile, type StoredTensor, writeTensorFile } from '../container/tensor-file.js';
import type { CodecParts, Tensor } from '../core/codec-parts.js';
import { isJsonObject, type JsonObject, parseJson } from '../core/json.js';
import { isSoftpackError } from '../errors.js';
import { DivergenceMeter, type DivergenceSums } from '../labels/divergence.js';
import type { LabelPlace } from '../labels/source.js';
import { onFile } from '../store/file-error.js';

const CODEC_FILE = `${UNFINISHED_PACK}safetensors`;
/** Tensor of side data in blocks. */
const BLOCKS = 'blocks';
const METER_FILE = `${UNFINISHED_PACK}jsonl`;
/** State of a training in progress. */
const TRAINING_FILE = `${UNFINISHED_PACK}training.safetensors`;

/** A trained codec with its encoder, and the report of its training. */
export interface KeptCodec {
  readonly parts: CodecParts;
  readonly training?: object;
  readonly pilot?: Pilot;
}

/**
 * Work of an unfinished `packLogits`, next to the rows of its archive: the state of its training, then the trained codec
 * with its encoder and, row by row, the divergence measured so far. A run with the same request resumes there
 * without reading a row twice.
 */
export class PartialPack implements AsyncDisposable {
  readonly codec: KeptCodec | undefined;
  readonly checkpoints: TrainingCheckpoints;
  readonly #directory: string;
  readonly #request: JsonObject;
  #meters: FileHandle | undefined;

  private constructor(
    directory: string,
    request: JsonObject,
    codec: KeptCodec | undefined,
    training: TrainingState | undefined,
  ) {
    this.#directory = directory;
    this.#request = request;
    this.codec = codec;
    const path = join(directory, TRAINING_FILE);
    const keep = (tensors: TrainingState) => writeState(path, tensors, { request });
    this.checkpoints = { ...(training && { last: training }), keep };
  }

  /**
   * `INVALID_ARGUMENT` naming what differs if the codec of the unfinished run was trained for another request. A training
   * for another request is not resumed but replaced: nothing was made with it yet.
   */
  static async open(directory: string, request: JsonObject): Promise<PartialPack> {
    const kept = await readCodec(join(directory, CODEC_FILE));
    if (kept !== undefined) requireSameHead(kept.request, request);
    const training = kept === undefined ? await readTraining(directory, request) : undefined;
    return new PartialPack(directory, request, kept, training);
  }

  /** Whether an interrupted run left something in the directory. */
  static isIn(directory: string): boolean {
    return FILES.some((name) => existsSync(join(directory, name)));
  }

  async keepCodec({ parts, training, pilot }: KeptCodec): Promise<void> {
    const tensors = new Map<string, StoredTensor>();
    for (const [name, tensor] of parts.tensors) tensors.set(`codec.${name}`, tensor);
    for (const [name, tensor] of parts.sampleTensors) tensors.set(`samples.${name}`, tensor);
    const { samples, samplesPerBlock, row } = parts.sampleBlocks ?? {};
    if (row !== undefined) tensors.set(BLOCKS, { dtype: 'U8', shape: [row.length], data: row });
    const state = {
      ...(row && { sampleBlocks: { samples, samplesPerBlock } }),
      request: this.#request,
      name: parts.name,
      config: parts.config,
      training,
      pilot,
    };
    await removeFile(join(this.#directory, METER_FILE));
    await writeState(join(this.#directory, CODEC_FILE), tensors, state);
    await removeFile(join(this.#directory, TRAINING_FILE));
  }

  /** The last label at or before `next` up to which the meter is known, and the meter there. */
  async meterBefore(
    next: LabelPlace,
    classes: number,
  ): Promise<LabelPlace & { readonly meter: DivergenceMeter }> {
    const text = await readFile(join(this.#directory, METER_FILE), 'utf8').catch(() => '');
    const lines = text.split('\n').slice(0, -1).map(parseSums);
    const known = lines.findLast((line) => line !== undefined && isBefore(line, next));
    if (known === undefined) return { epoch: 0, sample: 0, meter: new DivergenceMeter(classes) };
    const { epoch, sample, sums } = known;
    return { epoch, sample, meter: DivergenceMeter.from(classes, sums) };
  }

  /** With the label after those measured; before they are written: without their line they are measured again. */
  async keepMeter({ epoch, sample }: LabelPlace, meter: DivergenceMeter): Promise<void> {
    const path = join(this.#directory, METER_FILE);
    await onFile(path, async () => {
      if (this.#meters === undefined) {
        const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | NO_FOLLOW;
        this.#meters = await open(path, flags);
        await this.#meters.appendFile('\n'); // Ends what a killed run left of its last line.
      }
      await this.#meters.appendFile(`${JSON.stringify({ epoch, sample, sums: meter.sums() })}\n`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#meters?.close();
    this.#meters = undefined;
  }

  /** For an archive that is finished. */
  static async remove(directory: string): Promise<void> {
    for (const name of FILES) await removeFile(join(directory, name));
    await removeTemporaries(directory, [CODEC_FILE, TRAINING_FILE]);
  }
}

const FILES = [CODEC_FILE, METER_FILE, TRAINING_FILE];

/** `ALREADY_EXISTS` with the first difference if a finished archive was made by another request, or an unknown one. */
export function requireSameRequest(
  { request: made = {} }: Pick<Manifest, 'request'>,
  asked: JsonObject,
): void {
  const message = 'the directory holds a finished archive that was made otherwise; choose another';
  requireSame(made, asked, 'ALREADY_EXISTS', message);
}

function removeFile(path: string): Promise<void> {
  return onFile(path, () => rm(path, { force: true }));
}

interface State {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly state: JsonObject;
}

async function writeState(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  state: object,
): Promise<void> {
  const data = Buffer.from(JSON.stringify(state));
  const all = new Map(tensors).set('state', { dtype: 'U8', shape: [data.length], data });
  await writeTensorFile(path, all, { sha256: digest(all) });
}

/** `undefined` if the file is missing or damaged. */
async function readState(path: string): Promise<State | undefined> {
  try {
    const { tensors, metadata } = await readTensorFile(path);
    if (metadata.get('sha256') !== digest(tensors)) return undefined;
    const state = parseJson(path, 'state', tensors.get('state')?.data ?? new Uint8Array());
    return isJsonObject(state) && isJsonObject(state.request ?? null)
      ? { tensors, state }
      : undefined;
  } catch (error) {
    if (isSoftpackError(error)) return undefined;
    throw error;
  }
}

async function readCodec(
  path: string,
): Promise<(KeptCodec & { readonly request: JsonObject }) | undefined> {
  const kept = await readState(path);
  if (kept === undefined) return undefined;
  const named = (prefix: string) =>
    new Map(
      [...kept.tensors]
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, tensor]) => [name.slice(prefix.length), tensor as Tensor]),
    );
  const { request, name, config, training, pilot, sampleBlocks } = kept.state;
  const row = kept.tensors.get(BLOCKS)?.data;
  const side = row && { sampleBlocks: { ...(sampleBlocks as JsonObject), row } };
  const tensors = { tensors: named('codec.'), sampleTensors: named('samples.') };
  const parts = { name, config, ...tensors, ...side };
  return { request, parts, training, pilot } as unknown as KeptCodec & { request: JsonObject };
}

async function readTraining(
  directory: string,
  request: JsonObject,
): Promise<TrainingState | undefined> {
  const kept = await readState(join(directory, TRAINING_FILE));
  const same = JSON.stringify(kept?.state.request) === JSON.stringify(request);
  return same ? (kept?.tensors as TrainingState) : undefined;
}

function digest(tensors: ReadonlyMap<string, StoredTensor>): string {
  const sorted = [...tensors].sort(([a], [b]) => (a < b ? -1 : 1));
  return sha256(...sorted.flatMap(([name, { data }]) => [Buffer.from(`${name}\0`), data]));
}

/** Not after. */
function isBefore({ epoch, sample }: LabelPlace, next: LabelPlace): boolean {
  return epoch < next.epoch || (epoch === next.epoch && sample <= next.sample);
}

function parseSums(line: string): (LabelPlace & { readonly sums: DivergenceSums }) | undefined {
  const match = /^\{"epoch":(\d+),"sample":(\d+),"sums":\[([-+\d.e,]+)\]\}$/.exec(line);
  const sums = match?.[3].split(',').map(Number) ?? [];
  if (match === null || sums.length !== 5 || !sums.every(Number.isFinite)) return undefined;
  const [epoch, sample] = [Number(match[1]), Number(match[2])];
  return { epoch, sample, sums: sums as unknown as DivergenceSums };
}
