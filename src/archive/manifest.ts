import { sha256 } from '../container/checksum.js';
import { MANIFEST_FILE, MAX_SHARD_FILE_BYTES, MAX_SHARDS } from '../container/shard-file.js';
import { FieldChecker } from '../core/check.js';
import type { CodeLayout } from '../core/codec-parts.js';
import { elementBytes, isTensorDtype, TENSOR_DTYPES, type TensorDtype } from '../core/dtypes.js';
import {
  canonicalJson,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  parseJson,
} from '../core/json.js';
import { excerpt, invalidFile, SoftpackError } from '../errors.js';
import { MAX_COUNT, requireAgreement, requireRows } from './agreement.js';
import { batchesPerEpoch, type Pruning } from './pruning.js';

/** `manifest.json`: what an archive holds. Written last: its presence means that the archive is complete. */

export const CODEC_FILE = 'codec.safetensors';
export const SAMPLES_FILE = 'samples.safetensors';

/** Version of the format that this code writes, and the newest `minReader` that it reads. */
const FORMAT_VERSION = 1;
/** Features that a manifest may demand of its reader. `pruned`: rows are batches, see {@link Pruning}. */
const KNOWN_FEATURES: readonly string[] = ['pruned'];

export interface FileRecord {
  readonly file: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** A file with the rows of some epochs, for all samples. */
export interface ShardRecord extends FileRecord {
  /** [first, after the last]. */
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
  /** sha256 of header and block checksums together, which must be trusted before a block can be verified. */
  readonly indexSha256: string;
}

/** Data with one row per epoch. Every archive has `codes`; codecs may add more columns. */
export interface Column {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly rowBytes: number;
}

/** Everything that defines the archive except its labels. Its hash is the archive's id. */
export interface ArchiveIdentity {
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  readonly codec: { readonly name: string; readonly config: JsonObject };
  readonly codecFile: FileRecord;
  /** Present if the codec keeps side data per sample. */
  readonly samplesFile?: FileRecord;
  readonly layout: CodeLayout;
  /** How every labelled view was made, including the seed; null if there is no record of it. */
  readonly augmentation: JsonObject | null;
  readonly classNames?: readonly string[];
  /** Identifies the teacher. */
  readonly teacher?: JsonValue;
  /** Identifies the images and how they were decoded: labels belong to them, in their order. */
  readonly images?: JsonObject;
  /** Present if rows are batches instead of epochs; `samples` is then their size and `epochs` their number. */
  readonly pruning?: Pruning;
  /** `codes` first. */
  readonly columns: readonly Column[];
}

/** How an archive was made: no part of its identity. */
export interface ArchiveNotes {
  /** What was asked for, e.g. fingerprint of the labels, codec and its training: a rerun compares it with its own. */
  readonly request?: JsonObject;
  /** What was measured, e.g. the divergence of the decoded labels. */
  readonly result?: JsonObject;
}

export interface Manifest extends ArchiveIdentity, ArchiveNotes {
  readonly format: 'softpack';
  readonly version: number;
  readonly minReader: number;
  readonly features: {
    readonly required: readonly string[];
    readonly optional: readonly string[];
  };
  /** sha256 of the {@link ArchiveIdentity}, hex. */
  readonly archiveId: string;
  /** In order of epochs. */
  readonly shards: readonly ShardRecord[];
}

export function makeManifest(
  identity: ArchiveIdentity,
  shards: readonly ShardRecord[],
  { request, result }: ArchiveNotes = {},
): Manifest {
  return {
    format: 'softpack',
    version: FORMAT_VERSION,
    minReader: FORMAT_VERSION,
    features: { required: identity.pruning === undefined ? [] : ['pruned'], optional: [] },
    archiveId: archiveIdOf(identity),
    ...identity,
    ...(request === undefined ? {} : { request }),
    ...(result === undefined ? {} : { result }),
    shards,
  };
}

export function manifestBytes(manifest: Manifest): Uint8Array {
  return Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
}

export function archiveIdOf(identity: ArchiveIdentity): string {
  return sha256(Buffer.from(JSON.stringify(canonicalJson(identity, 'archive'))));
}

/** Labels that training with an archive uses, stored or pruned: the label count of its compression ratio. */
export function trainingLabels({ samples, epochs, pruning }: ArchiveIdentity): number {
  return pruning === undefined ? samples * epochs : pruning.samples * pruning.epochs;
}

/** Bytes of one row of codes. */
export function codesRowBytes(layout: CodeLayout, samples: number): number {
  if (layout.kind === 'fixed') return Math.ceil((samples * layout.bitsPerLabel) / 8);
  throw new SoftpackError('UNSUPPORTED', 'rows of variable length', {
    field: 'layout.kind',
    expected: 'fixed',
    found: layout.kind,
  });
}

/**
 * Reads an untrusted manifest. `UNSUPPORTED` if it needs a newer reader or an unknown feature,
 * `INVALID_FILE` naming the invalid field, `CORRUPT_DATA` if the archive's id does not match.
 */
export function parseManifest(file: string, bytes: Uint8Array): Manifest {
  const json = parseJson(file, 'content', bytes);
  if (!isJsonObject(json)) throw invalidFile(file, 'content', 'not an object', { found: json });
  const check = new FieldChecker(file, 'INVALID_FILE');
  const format = check.that(json.format === 'softpack', json.format, 'format', 'softpack');
  const features = checkReader(check, json);
  const identity = checkIdentity(check, json);
  const manifest = {
    format: format as 'softpack',
    version: check.count(json.version, 'version', 1),
    minReader: check.count(json.minReader, 'minReader', 1),
    features,
    archiveId: check.digest(json.archiveId, 'archiveId'),
    ...identity,
    ...(json.request === undefined ? {} : { request: check.object(json.request, 'request') }),
    ...(json.result === undefined ? {} : { result: check.object(json.result, 'result') }),
    shards: checkShards(check, json.shards, identity),
  };
  const id = archiveIdOf(identity);
  if (id !== manifest.archiveId) {
    throw new SoftpackError('CORRUPT_DATA', 'manifest was changed after it was written', {
      field: `${file}: archiveId`,
      expected: manifest.archiveId,
      found: id,
    });
  }
  requireRows(check, manifest);
  requireAgreement(check, manifest);
  return manifest;
}

/** Refuses archives that need a newer reader before checking anything that a newer format may have changed. */
function checkReader(check: FieldChecker, json: JsonObject): Manifest['features'] {
  const minReader = check.count(json.minReader, 'minReader', 1);
  if (minReader > FORMAT_VERSION) {
    throw new SoftpackError('UNSUPPORTED', 'archive needs a newer reader', {
      field: `${check.name}: minReader`,
      expected: `at most ${FORMAT_VERSION}`,
      found: minReader,
    });
  }
  const features = check.object(json.features, 'features');
  const required = check.texts(features.required, 'features.required');
  const unknown = required.filter((feature) => !KNOWN_FEATURES.includes(feature));
  if (unknown.length > 0) {
    throw new SoftpackError('UNSUPPORTED', 'archive needs a feature that this reader lacks', {
      field: `${check.name}: features.required`,
      expected: `among ${KNOWN_FEATURES.join(', ')}`,
      found: excerpt(unknown.join(', ')),
    });
  }
  return { required, optional: check.texts(features.optional, 'features.optional') };
}

/** Checks every field of a manifest, or of a caller's spec for one. */
export function checkIdentity(check: FieldChecker, json: JsonObject): ArchiveIdentity {
  const samples = check.count(json.samples, 'samples', 1, MAX_COUNT);
  const codec = check.object(json.codec, 'codec');
  const layout = checkLayout(check, json.layout);
  const classes = check.count(json.classes, 'classes', 1, MAX_COUNT);
  const { augmentation, classNames, samplesFile, teacher, images, pruning } = json;
  const identity: ArchiveIdentity = {
    classes,
    samples,
    epochs: check.count(json.epochs, 'epochs', 1, MAX_COUNT),
    tau: check.positive(json.tau, 'tau'),
    codec: {
      name: check.text(codec.name, 'codec.name'),
      config: check.object(codec.config, 'codec.config'),
    },
    codecFile: checkFileRecord(check, json.codecFile, 'codecFile'),
    ...(samplesFile === undefined
      ? {}
      : { samplesFile: checkFileRecord(check, samplesFile, 'samplesFile') }),
    layout,
    augmentation: augmentation === null ? null : check.object(augmentation, 'augmentation'),
    ...(classNames === undefined ? {} : { classNames: check.texts(classNames, 'classNames') }),
    ...(teacher === undefined ? {} : { teacher }),
    ...(images === undefined ? {} : { images: check.object(images, 'images') }),
    ...(pruning === undefined ? {} : { pruning: checkPruning(check, pruning) }),
    columns: checkColumns(check, json.columns, codesRowBytes(layout, samples)),
  };
  checkPool(check, identity);
  const names = identity.classNames?.length ?? classes;
  check.that(names === classes, names, 'classNames', `${classes} names`);
  return identity;
}

/** Batches must lie within the epochs they are taken from. */
function checkPool(check: FieldChecker, { pruning, samples, epochs }: ArchiveIdentity): void {
  if (pruning === undefined) return;
  check.count(pruning.samples, 'pruning.samples', samples, MAX_COUNT);
  const all = pruning.epochs * batchesPerEpoch(pruning, samples);
  check.that(epochs <= all, epochs, 'epochs', `at most all of ${all} batches`);
}

function checkPruning(check: FieldChecker, value: JsonValue): Pruning {
  const pruning = check.object(value, 'pruning');
  return {
    samples: check.count(pruning.samples, 'pruning.samples', 1),
    epochs: check.count(pruning.epochs, 'pruning.epochs', 1, MAX_COUNT),
    seed: check.count(pruning.seed, 'pruning.seed', 0),
  };
}

function checkLayout(check: FieldChecker, value: JsonValue | undefined): CodeLayout {
  const layout = check.object(value, 'layout');
  if (layout.kind !== 'fixed') {
    throw new SoftpackError('UNSUPPORTED', 'unknown layout of codes', {
      field: `${check.name}: layout.kind`,
      expected: 'fixed',
      found: excerpt(layout.kind),
    });
  }
  const bitsPerLabel = check.count(layout.bitsPerLabel, 'layout.bitsPerLabel', 0);
  return { kind: 'fixed', bitsPerLabel };
}

function checkColumns(
  check: FieldChecker,
  value: JsonValue | undefined,
  rowBytes: number,
): readonly Column[] {
  const list = check.list(value, 'columns');
  check.that(list.length <= MAX_COLUMNS, list.length, 'columns', `at most ${MAX_COLUMNS}`);
  const columns = list.map((item, i) => {
    const column = check.object(item, `columns[${i}]`);
    const { dtype } = column;
    check.that(isTensorDtype(dtype), dtype, `columns[${i}].dtype`, TENSOR_DTYPES.join(', '));
    return {
      name: check.text(column.name, `columns[${i}].name`, COLUMN_NAME),
      dtype: dtype as TensorDtype,
      rowBytes: check.count(column.rowBytes, `columns[${i}].rowBytes`, 0),
    };
  });
  const problem = columnsProblem(columns, rowBytes);
  check.that(problem === undefined, excerpt(columns), 'columns', problem ?? '');
  return columns;
}

/** Each is a tensor of every shard, next to a pad and the checksums. */
const MAX_COLUMNS = 1000;
const COLUMN_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;

/** The rule that columns break, if any: `codes` first, unique names, whole elements per row. */
function columnsProblem(columns: readonly Column[], codesBytes: number): string | undefined {
  const [codes] = columns;
  if (codes?.name !== 'codes' || codes.dtype !== 'U8' || codes.rowBytes !== codesBytes) {
    return `first column codes, U8, ${codesBytes} bytes per row`;
  }
  if (columns.some(({ name }) => !COLUMN_NAME.test(name)))
    return `names like ${COLUMN_NAME.source}`;
  const names = new Set(columns.map(({ name }) => name));
  if (names.size !== columns.length || names.has('block_xxh64')) return 'unique names';
  const whole = columns.every(({ dtype, rowBytes }) => rowBytes % elementBytes(dtype) === 0);
  return whole ? undefined : 'rows of whole elements';
}

/** Shards must cover all epochs in order, without gap or overlap, with all samples each. */
function checkShards(
  check: FieldChecker,
  value: JsonValue | undefined,
  { epochs, samples, codecFile, samplesFile }: ArchiveIdentity,
): readonly ShardRecord[] {
  const list = check.list(value, 'shards');
  check.that(list.length <= MAX_SHARDS, list.length, 'shards', `at most ${MAX_SHARDS}`);
  const files = new Set([MANIFEST_FILE, codecFile.file, samplesFile?.file]);
  let next = 0;
  const shards = list.map((item, i) => {
    const at = `shards[${i}]`;
    const shard = check.object(item, at);
    const record = checkFileRecord(check, item, at);
    check.count(record.bytes, `${at}.bytes`, 0, MAX_SHARD_FILE_BYTES);
    const [begin, end] = check.range(shard.epochs, `${at}.epochs`);
    check.that(begin === next && end <= epochs, [begin, end], `${at}.epochs`, `from ${next} on`);
    next = end;
    const range = check.range(shard.samples, `${at}.samples`);
    check.that(range[0] === 0 && range[1] === samples, range, `${at}.samples`, `[0,${samples}]`);
    check.that(!files.has(record.file), record.file, `${at}.file`, 'a file name of its own');
    files.add(record.file);
    const indexSha256 = check.digest(shard.indexSha256, `${at}.indexSha256`);
    return { ...record, epochs: [begin, end] as const, samples: range, indexSha256 };
  });
  check.that(next === epochs, next, 'shards', `all of ${epochs} epochs`);
  return shards;
}

function checkFileRecord(
  check: FieldChecker,
  value: JsonValue | undefined,
  field: string,
): FileRecord {
  const record = check.object(value, field);
  return {
    file: check.fileName(record.file, `${field}.file`),
    bytes: check.count(record.bytes, `${field}.bytes`, 0),
    sha256: check.digest(record.sha256, `${field}.sha256`),
  };
}
