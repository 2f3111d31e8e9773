import { loadXxh64 } from '../container/checksum.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument, FieldChecker } from '../core/check.js';
import type { CodecParts, SampleBlockOf, SampleBlocks, Tensor } from '../core/codec-parts.js';
import { inLanes } from '../core/lanes.js';
import type { SampleRange } from '../core/samples.js';
import { SoftpackError } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { openSound } from '../store/open-sound.js';
import { openStore } from '../store/open-store.js';
import { subStore } from '../store/sub-store.js';
import { requireSampleRows } from './agreement.js';
import { readCodecFile } from './codec-files.js';
import type { FileRecord } from './file-record.js';
import {
  archiveDigest,
  readManifest,
  readManifestBytes,
  requirePart,
  shardsOf,
  tableFiles,
} from './files.js';
import { labelAlignment, requireEpoch, storedEpochs } from './grid.js';
import type { Column } from './identity.js';
import type { ArchiveBytes, LabelArchive, PartOfEpoch } from './label-archive.js';
import type { Manifest } from './manifest.js';
import { PartedArchive } from './parted-archive.js';
import type { PartRecord } from './parts.js';
import { placedParts, requireSameTemperatures } from './placed-parts.js';
import {
  type CodesDecoder,
  type CodesOfSamples,
  type ReadLabelsOptions,
  readLabels,
} from './read-labels.js';
import { SampleBlockReader } from './sample-block-reader.js';
import type { SampleBlocksRecord } from './sample-record.js';
import { ShardReader, type ShardReaderParts } from './shard-reader.js';
import type { Shards } from './shards.js';
import { tauAt } from './tau-schedule.js';
import { errorOf, verifyArchiveFiles } from './verify-archive.js';

export type { ArchiveBytes, LabelArchive, PartOfEpoch };

export interface OpenArchiveOptions {
  /** @internal Makes what decodes labels; without it only codes can be read. */
  readonly decoderOf?: (archive: LabelArchive) => CodesDecoder;
  /** `block` (default): verify the checksum of everything read. `none`: check only sizes and headers. */
  readonly verify?: 'block' | 'none';
}

/**
 * Opens an archive: a folder, an address (`https://...`, see {@link openStore}) or a store. Reads manifest and codec, no
 * codes.
 *
 * @throws `NOT_FOUND` if there is no such directory, `INCOMPLETE` if it holds no manifest, `UNSUPPORTED` if
 *   the archive needs a newer reader, `INVALID_FILE` or `CORRUPT_DATA` if its files are not what was written.
 */
export async function openArchive(
  from: string | ByteStore,
  options: OpenArchiveOptions = {},
): Promise<LabelArchive> {
  const source = typeof from === 'string' ? await openStore(from) : from;
  const own = await openOne(source, options);
  const { parts } = own.manifest;
  if (parts === undefined) return own;
  const others: LabelArchive[] = [];
  await inLanes(parts.length, PARTS_AT_A_TIME, async (i) => {
    const store = subStore(source, parts[i].folder);
    others[i] = await openOne(store, options, parts[i]);
    const name = nameIn(store.name, MANIFEST_FILE);
    requirePart(name, own.manifest, others[i].manifest, parts[i]);
  });
  const all = [own, ...others] as const;
  const name = nameIn(source.name, MANIFEST_FILE);
  requireSameTemperatures(name, placedParts(all.map(({ manifest }) => manifest)));
  return new PartedArchive(all);
}

/** Opened at a time: a server is asked for three files of each. */
const PARTS_AT_A_TIME = 8;

async function openOne(
  source: ByteStore,
  options: OpenArchiveOptions,
  listed?: PartRecord,
): Promise<SourceArchive> {
  const verify = options.verify ?? 'block';
  const { manifest, manifestBytes } = await readManifest(source, listed);
  const read = async (record: FileRecord | undefined): Promise<ReadonlyMap<string, Tensor>> => {
    if (record === undefined) return new Map();
    const { tensors } = await openSound(source, record.file, (file) =>
      readCodecFile(file, record, verify === 'block'),
    );
    return tensors;
  };
  const codecParts = {
    name: manifest.codec.name,
    config: manifest.codec.config,
    tensors: await read(manifest.codecFile),
    sampleTensors: await read(manifest.samplesFile),
    ...(manifest.sampleBlocks && { sampleBlocks: sizesOf(manifest.sampleBlocks) }),
  };
  const samplesFile = nameIn(source.name, manifest.samplesFile?.file ?? '');
  const check = new FieldChecker(samplesFile, 'INVALID_FILE');
  requireSampleRows(check, codecParts.sampleTensors, manifest.samples);
  const shards = await shardsOf(source, manifest, verify === 'block');
  const xxh64 = verify === 'block' ? await loadXxh64() : undefined;
  const sampleBlocks = await SampleBlockReader.open(source, manifest, xxh64);
  const { decoderOf } = options;
  const parts = { source, manifest, codecParts, shards, sampleBlocks, xxh64, decoderOf };
  return new SourceArchive(parts, manifestBytes);
}

function sizesOf({ samples, samplesPerBlock }: SampleBlocksRecord): SampleBlocks {
  return { samples, samplesPerBlock };
}

interface ArchiveParts extends ShardReaderParts {
  readonly manifest: Manifest;
  readonly codecParts: CodecParts;
  readonly sampleBlocks: SampleBlockReader | undefined;
  readonly decoderOf: OpenArchiveOptions['decoderOf'];
}

class SourceArchive implements LabelArchive {
  readonly manifest: Manifest;
  readonly codecParts: CodecParts;
  readonly shards: Shards;
  readonly #source: ByteStore;
  readonly #manifestBytes: number;
  readonly #reader: ShardReader;
  readonly #decoderOf: OpenArchiveOptions['decoderOf'];
  readonly #sampleBlocks: SampleBlockReader | undefined;
  #decoder: CodesDecoder | undefined;
  #closed = false;

  constructor(parts: ArchiveParts, manifestBytes: number) {
    const { source, manifest, codecParts, shards, decoderOf } = parts;
    this.#reader = new ShardReader(parts);
    this.#sampleBlocks = parts.sampleBlocks;
    this.#source = source;
    this.manifest = manifest;
    this.shards = shards;
    this.#manifestBytes = manifestBytes;
    this.codecParts = codecParts;
    this.#decoderOf = decoderOf;
  }

  get id(): string {
    return archiveDigest(this.manifest);
  }

  get classes(): number {
    return this.manifest.classes;
  }

  get samples(): number {
    return this.manifest.samples;
  }

  get epochs(): number {
    return this.manifest.epochs;
  }

  labels(
    epoch: number,
    samples: SampleRange | readonly number[],
    { tau = this.#tauOf(epoch) }: ReadLabelsOptions = {},
  ): Promise<Float32Array> {
    this.#requireOpen();
    this.#decoder ??= this.#decoderOf?.(this);
    if (this.#decoder !== undefined)
      return readLabels(this, this.#decoder, { epoch, samples, tau });
    throw new SoftpackError('UNSUPPORTED', 'the archive was opened without codecs', {
      field: 'labels',
    });
  }

  /** Rows of a pruned archive have no epoch yet; that there is no such row is found when it is read. */
  #tauOf(row: number): number {
    const { pruning, tau, tauSchedule } = this.manifest;
    return pruning === undefined && tauSchedule !== undefined ? tauAt(tauSchedule, row) : tau;
  }

  get parts(): readonly LabelArchive[] {
    return [this];
  }

  partOf(epoch: number, sample = 0): PartOfEpoch {
    requireEpoch(epoch, this.manifest.epochs);
    argument.count(sample, 'sample', 0, this.samples - 1);
    return { index: 0, archive: this, epoch, samples: [0, this.samples] };
  }

  partsOf(epoch: number): readonly PartOfEpoch[] {
    return [this.partOf(epoch)];
  }

  storedEpoch(epoch: number): number {
    const row = this.#rowOf(epoch);
    const { views } = this.manifest;
    return views === undefined ? row : (views.first + row) % views.of;
  }

  #rowOf(epoch: number): number {
    requireEpoch(epoch, this.manifest.epochs);
    return epoch % storedEpochs(this.manifest);
  }

  temperatureOf(epoch: number): number {
    const { epochs, pruning, tau, tauSchedule } = this.manifest;
    requireEpoch(epoch, pruning?.epochs ?? epochs);
    return tauSchedule === undefined ? tau : tauAt(tauSchedule, epoch);
  }

  async readRow(epoch: number, name = 'codes'): Promise<Uint8Array<SharedArrayBuffer>> {
    const column = this.#columnOf(name);
    return this.#reader.read(this.#rowOf(epoch), column, 0, this.samples);
  }

  async readCodes(
    epoch: number,
    { start, count }: { readonly start: number; readonly count: number },
  ): Promise<CodesOfSamples> {
    const { layout } = this.manifest;
    argument.count(start, 'start', 0, this.samples);
    argument.count(count, 'count', 0, this.samples - start);
    const alignment = labelAlignment(layout);
    const first = Math.floor(start / alignment) * alignment;
    const end = Math.min(this.samples, Math.ceil((start + count) / alignment) * alignment);
    const column = this.#columnOf('codes');
    return { row: await this.#reader.read(this.#rowOf(epoch), column, first, end), first };
  }

  async wholeCodec(): Promise<CodecParts> {
    this.#requireOpen();
    if (this.#sampleBlocks === undefined) return this.codecParts;
    return { ...this.codecParts, sampleBlocks: await this.#sampleBlocks.whole() };
  }

  async sampleBlocks(...samples: readonly Uint32Array[]): Promise<SampleBlockOf | undefined> {
    this.#requireOpen();
    return this.#sampleBlocks?.of(...samples);
  }

  #columnOf(name: string): Column {
    this.#requireOpen();
    const { columns } = this.manifest;
    const column = columns.find((candidate) => candidate.name === name);
    if (column !== undefined) return column;
    const expected = columns.map((candidate) => candidate.name).join(', ');
    const details = { field: 'column', expected, found: name };
    throw new SoftpackError('INVALID_ARGUMENT', 'no such column', details);
  }

  fileOf(epoch: number, sample = 0): string {
    const i = this.shards.find(this.#rowOf(epoch), sample);
    return nameIn(this.#source.name, this.shards.at(i).file);
  }

  bytes(): ArchiveBytes {
    const { columns } = this.manifest;
    const epochs = storedEpochs(this.manifest);
    const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
    const { tensors, sampleTensors } = this.codecParts;
    const [own, ...others] = columns.map(({ rowBytes }) => rowBytes * epochs);
    const held = sum([...tensors.values(), ...sampleTensors.values()].map((t) => t.data.length));
    // Containers of side data count as side data: their blocks have lengths of their own.
    const codec = held + (this.#sampleBlocks?.bytes ?? 0);
    const metadata = sum(others) + this.#manifestBytes;
    const files = sum(tableFiles(this.manifest).map((file) => file.bytes));
    const side = this.#sampleBlocks?.bytes ?? 0;
    const total = this.#manifestBytes + files + side + this.shards.bytes;
    // Lengths of blocks are in their shards: where none was opened their containers count as codes.
    const codes = this.manifest.layout.kind === 'fixed' ? own : this.shards.bytes - sum(others);
    return { codes, codec, metadata, container: total - codes - codec - metadata, total };
  }

  async verify(): Promise<void> {
    this.#requireOpen();
    const manifest = await readManifestBytes(this.#source);
    const { damage } = await verifyArchiveFiles(this.#source, manifest);
    if (damage.length > 0) throw errorOf(this.#source.name, damage[0]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#reader.clear();
    this.#sampleBlocks?.clear();
    this.#decoder?.dispose();
    this.#decoder = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #requireOpen(): void {
    if (!this.#closed) return;
    throw new SoftpackError('INVALID_ARGUMENT', 'archive is closed', { field: 'archive' });
  }
}
