import { existsSync } from 'node:fs';
import { constants, type FileHandle, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UNFINISHED_PACK } from '../archive/create.js';
import type { Manifest } from '../archive/manifest.js';
import { requireSame, requireSameHead } from '../archive/spec.js';
import type { TrainingCheckpoints, TrainingState } from '../codecs/checkpoints.js';
import { NO_FOLLOW, removeTemporaries, replaceFile } from '../container/durable.js';
import type { JsonObject } from '../core/json.js';
import { DivergenceMeter, type DivergenceSums } from '../labels/divergence.js';
import type { LabelPlace } from '../labels/source.js';
import { onFile } from '../store/file-error.js';
import { codecBytes, type KeptCodec, readCodec, readState, writeState } from './kept-codec.js';

const CODEC_FILE = `${UNFINISHED_PACK}safetensors`;
const METER_FILE = `${UNFINISHED_PACK}jsonl`;
/** State of a training in progress. */
const TRAINING_FILE = `${UNFINISHED_PACK}training.safetensors`;

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

  async keepCodec(codec: KeptCodec): Promise<void> {
    await removeFile(join(this.#directory, METER_FILE));
    const path = join(this.#directory, CODEC_FILE);
    await replaceFile(path, codecBytes(path, codec, this.#request));
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
      await this.#meters.appendFile(lineOf({ epoch, sample }, meter.sums()));
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

async function readTraining(
  directory: string,
  request: JsonObject,
): Promise<TrainingState | undefined> {
  const kept = await readState(join(directory, TRAINING_FILE));
  const same = JSON.stringify(kept?.state.request) === JSON.stringify(request);
  return same ? (kept?.tensors as TrainingState) : undefined;
}

/** Not after. */
function isBefore({ epoch, sample }: LabelPlace, next: LabelPlace): boolean {
  return epoch < next.epoch || (epoch === next.epoch && sample <= next.sample);
}

function lineOf({ epoch, sample }: LabelPlace, sums: DivergenceSums): string {
  return `{"epoch":${epoch},"sample":${sample},"sums":[${sums.join(',')}]}\n`;
}

function parseSums(line: string): (LabelPlace & { readonly sums: DivergenceSums }) | undefined {
  const match = /^\{"epoch":(\d+),"sample":(\d+),"sums":\[(-?\d+(?:,-?\d+){4})\]\}$/.exec(line);
  if (match === null) return undefined;
  const sums = match[3].split(',').map(BigInt);
  const [epoch, sample] = [Number(match[1]), Number(match[2])];
  return { epoch, sample, sums: sums as unknown as DivergenceSums };
}
