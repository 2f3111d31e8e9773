import { sha256 } from '../container/checksum.js';
import type { FieldChecker } from '../core/check.js';
import type { CodeLayout } from '../core/codec-parts.js';
import { elementBytes, isTensorDtype, TENSOR_DTYPES, type TensorDtype } from '../core/dtypes.js';
import { canonicalJson, type JsonObject, type JsonValue } from '../core/json.js';
import { excerpt, SoftpackError } from '../errors.js';
import { MAX_COUNT } from './agreement.js';
import { checkFileRecord, type FileRecord } from './file-record.js';
import type { ShardGrid } from './grid.js';
import { batchesPerEpoch, isDrawn, type Pruning, SAMPLE_COLUMN } from './pruning.js';
import { checkSampleBlocks, type SampleBlocksRecord } from './sample-record.js';
import { checkTauSchedule, type TauSchedule } from './tau-schedule.js';

/** What an archive is, apart from its labels: the part of the manifest that its id is the hash of. */

export const CODEC_FILE = 'codec.safetensors';
export const SAMPLES_FILE = 'samples.safetensors';

/** Data with one row per epoch. Every archive has `codes`; codecs may add more columns. */
export interface Column {
  readonly name: string;
  readonly dtype: TensorDtype;
  /** 0 for codes whose blocks have lengths of their own. */
  readonly rowBytes: number;
}

/** Stored epoch r has the views of epoch (`first` + r) mod `of`: a part of an archive begins where the one before ends. */
export interface ViewEpochs {
  readonly first: number;
  readonly of: number;
}

/** Everything that defines the archive except its labels. Its hash is the archive's id. */
export interface ArchiveIdentity {
  readonly classes: number;
  readonly samples: number;
  /** Epochs that the archive serves. */
  readonly epochs: number;
  /** Epochs whose labels are stored, if they are fewer: epoch e is stored epoch e mod `storedEpochs`, views and all. */
  readonly storedEpochs?: number;
  /** Epochs whose views the stored ones have, if not those of the same numbers. */
  readonly views?: ViewEpochs;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  /** Temperatures of the epochs in its place, if they differ; of the epochs of `pruning`, if rows are batches. */
  readonly tauSchedule?: TauSchedule;
  readonly codec: { readonly name: string; readonly config: JsonObject };
  readonly codecFile: FileRecord;
  /** Present if the codec keeps side data per sample. */
  readonly samplesFile?: FileRecord;
  /** Present if it keeps side data of so many samples that they lie in files of their own. */
  readonly sampleBlocks?: SampleBlocksRecord;
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
  /** Sides of the shards; absent from archives of version 1, whose manifest lists them. */
  readonly grid?: ShardGrid;
}

export function archiveIdOf(identity: ArchiveIdentity): string {
  return sha256(Buffer.from(JSON.stringify(canonicalJson(identity, 'archive'))));
}

/** Labels that training with an archive uses, stored or pruned: the label count of its compression ratio. */
export function trainingLabels({
  samples,
  epochs,
  pruning,
}: Pick<ArchiveIdentity, 'samples' | 'epochs' | 'pruning'>): number {
  return pruning === undefined ? samples * epochs : pruning.samples * pruning.epochs;
}

/** Bytes of one row of codes; 0 where blocks have lengths of their own. */
export function codesRowBytes(layout: CodeLayout, samples: number): number {
  return layout.kind === 'fixed' ? Math.ceil((samples * layout.bitsPerLabel) / 8) : 0;
}

/** Checks every field of a manifest, or of a caller's spec for one. */
export function checkIdentity(check: FieldChecker, json: JsonObject): ArchiveIdentity {
  const samples = check.count(json.samples, 'samples', 1, MAX_COUNT);
  const codec = check.object(json.codec, 'codec');
  const layout = checkLayout(check, json.layout);
  const classes = check.count(json.classes, 'classes', 1, MAX_COUNT);
  const { augmentation, classNames, samplesFile, teacher, images, pruning, grid } = json;
  const epochs = check.count(json.epochs, 'epochs', 1, MAX_COUNT);
  const identity: ArchiveIdentity = {
    classes,
    samples,
    epochs,
    ...(json.storedEpochs === undefined
      ? {}
      : { storedEpochs: check.count(json.storedEpochs, 'storedEpochs', 1, epochs - 1) }),
    tau: check.positive(json.tau, 'tau'),
    codec: {
      name: check.text(codec.name, 'codec.name'),
      config: check.object(codec.config, 'codec.config'),
    },
    codecFile: checkFileRecord(check, json.codecFile, 'codecFile'),
    ...(samplesFile === undefined
      ? {}
      : { samplesFile: checkFileRecord(check, samplesFile, 'samplesFile') }),
    ...sampleBlocksOf(check, json),
    layout,
    augmentation: augmentation === null ? null : check.object(augmentation, 'augmentation'),
    ...(classNames === undefined ? {} : { classNames: check.texts(classNames, 'classNames') }),
    ...(teacher === undefined ? {} : { teacher }),
    ...(images === undefined ? {} : { images: check.object(images, 'images') }),
    ...(pruning === undefined ? {} : { pruning: checkPruning(check, pruning) }),
    columns: checkColumns(check, json.columns, codesRowBytes(layout, samples)),
    ...(grid === undefined ? {} : { grid: checkGrid(check, grid) }),
  };
  checkPool(check, identity);
  const tauSchedule = scheduleOf(check, json, identity);
  const views = viewsOf(check, json, identity);
  const names = identity.classNames?.length ?? classes;
  check.that(names === classes, names, 'classNames', `${classes} names`);
  return { ...identity, ...tauSchedule, ...views };
}

function sampleBlocksOf(
  check: FieldChecker,
  { sampleBlocks: value }: JsonObject,
): Pick<ArchiveIdentity, 'sampleBlocks'> {
  if (value === undefined) return {};
  const { table } = check.object(value, 'sampleBlocks');
  const record = checkFileRecord(check, table, 'sampleBlocks.table');
  return { sampleBlocks: checkSampleBlocks(check, value, record) };
}

function scheduleOf(
  check: FieldChecker,
  { tauSchedule }: JsonObject,
  { epochs, pruning }: ArchiveIdentity,
): Pick<ArchiveIdentity, 'tauSchedule'> {
  if (tauSchedule === undefined) return {};
  return { tauSchedule: checkTauSchedule(check, tauSchedule, pruning?.epochs ?? epochs) };
}

function viewsOf(
  check: FieldChecker,
  { views }: JsonObject,
  { pruning }: ArchiveIdentity,
): Pick<ArchiveIdentity, 'views'> {
  if (views === undefined) return {};
  check.that(pruning === undefined, 'views', 'views', 'nothing: rows are batches');
  const given = check.object(views, 'views');
  const of = check.count(given.of, 'views.of', 1, MAX_COUNT);
  return { views: { first: check.count(given.first, 'views.first', 0, of - 1), of } };
}

/** Batches must lie within the epochs they are taken from. */
function checkPool(
  check: FieldChecker,
  { pruning, samples, epochs, storedEpochs: stored, columns }: ArchiveIdentity,
): void {
  if (pruning === undefined) return;
  const list = columns.find(({ name }) => name === SAMPLE_COLUMN);
  const isList = list?.dtype === 'U32' && list.rowBytes === 4 * samples;
  const expected = `${SAMPLE_COLUMN}, U32, ${4 * samples} bytes per row, or a seed in pruning`;
  check.that(isList || isDrawn(pruning), excerpt(columns), 'columns', expected);
  check.count(pruning.samples, 'pruning.samples', samples, MAX_COUNT);
  const all = pruning.epochs * batchesPerEpoch(pruning, samples);
  check.that(epochs <= all, epochs, 'epochs', `at most all of ${all} batches`);
  check.that(
    stored === undefined,
    stored,
    'storedEpochs',
    'nothing: pruned batches are all stored',
  );
}

export function checkGrid(check: FieldChecker, value: JsonValue): ShardGrid {
  const grid = check.object(value, 'grid');
  return {
    epochs: check.count(grid.epochs, 'grid.epochs', 1, MAX_COUNT),
    samples: check.count(grid.samples, 'grid.samples', 1, MAX_COUNT),
  };
}

function checkPruning(check: FieldChecker, value: JsonValue): Pruning {
  const pruning = check.object(value, 'pruning');
  return {
    samples: check.count(pruning.samples, 'pruning.samples', 1),
    epochs: check.count(pruning.epochs, 'pruning.epochs', 1, MAX_COUNT),
    ...(pruning.seed === undefined ? {} : { seed: check.count(pruning.seed, 'pruning.seed', 0) }),
  };
}

function checkLayout(check: FieldChecker, value: JsonValue | undefined): CodeLayout {
  const layout = check.object(value, 'layout');
  if (layout.kind === 'fixed') {
    return {
      kind: 'fixed',
      bitsPerLabel: check.count(layout.bitsPerLabel, 'layout.bitsPerLabel', 0),
    };
  }
  if (layout.kind === 'blocks') {
    const labels = check.count(layout.labelsPerBlock, 'layout.labelsPerBlock', 1, MAX_BLOCK_LABELS);
    return { kind: 'blocks', labelsPerBlock: labels };
  }
  throw new SoftpackError('UNSUPPORTED', 'unknown layout of codes', {
    field: `${check.name}: layout.kind`,
    expected: 'fixed, blocks',
    found: excerpt(layout.kind),
  });
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

/** A label is found by decoding its block. */
const MAX_BLOCK_LABELS = 65_536;
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
  if (names.size !== columns.length || names.has('block_xxh64') || names.has('codes_offsets'))
    return 'unique names';
  const whole = columns.every(({ dtype, rowBytes }) => rowBytes % elementBytes(dtype) === 0);
  return whole ? undefined : 'rows of whole elements';
}
