import { sha256 } from '../container/checksum.js';
import { MANIFEST_FILE, MAX_SHARD_FILE_BYTES, MAX_SHARDS } from '../container/shard-file.js';
import { FieldChecker } from '../core/check.js';
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from '../core/json.js';
import { errorAt, excerpt, invalidFile, SoftpackError } from '../errors.js';
import { requireAgreement, requireRows } from './agreement.js';
import { checkFileRecord, type FileRecord } from './file-record.js';
import { rectangleAt, requireGrid, type ShardGrid, shardCount } from './grid.js';
import { type ArchiveIdentity, archiveIdOf, checkIdentity } from './identity.js';
import { checkParts, hasSampleParts, type PartRecord } from './parts.js';
import { isDrawn, type Pruning } from './pruning.js';
import { SHARD_TABLE_FILE, type ShardRecord } from './shards.js';

/** `manifest.json`: what an archive holds. Written last: its presence means that the archive is complete. */

/** Version of the format that this code writes, and the newest `minReader` that it reads. */
const FORMAT_VERSION = 2;
/**
 * Features that a manifest may demand of its reader. `pruned`: rows are batches, see {@link Pruning}. `listed`:
 * of samples that a column lists. `rendering`: views are resized in another way than by default, which older readers do not know.
 * `tau-schedule`: epochs have temperatures of their own. `views`: stored epochs have the views of other numbers. `parts`:
 * further epochs lie in folders. `sample-parts`: so do further samples. `sample-blocks`: side data lie in files of their own.
 * `side-trellis`: the codec's tensors have a trellis, without which they look damaged. `coded-text`: ids of texts have a code.
 * `likeness`: base vectors in blocks are predicted from classes, without which labels are wrong. `exact-logits`: logits of
 * hidden states have corrections. `counted-draws`: sampled ids are stored as a set and how often each occurs.
 */
const KNOWN_FEATURES: readonly string[] = [
  ...['pruned', 'listed', 'rendering', 'tau-schedule', 'views', 'parts', 'sample-parts'],
  ...['sample-blocks', 'side-trellis', 'coded-text', 'likeness', 'exact-logits', 'counted-draws'],
];

/** How an archive was made: no part of its identity. */
export interface ArchiveNotes {
  /** softpack's version, the function that was called and its arguments. */
  readonly provenance?: JsonObject;
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
  /** Version 2: the file with a record for each shard of the grid. */
  readonly shardTable?: FileRecord;
  /** Version 1: the shards, in order of epochs. */
  readonly shards?: readonly ShardRecord[];
  /** Further epochs and samples, in folders; no part of the identity, which is that of the epochs in this one. */
  readonly parts?: readonly PartRecord[];
}

export function makeManifest(
  identity: ArchiveIdentity,
  shardTable: FileRecord,
  { provenance, request, result }: ArchiveNotes = {},
  parts: readonly PartRecord[] = [],
): Manifest {
  const own: Manifest = {
    format: 'softpack',
    version: FORMAT_VERSION,
    minReader: FORMAT_VERSION,
    features: { required: requiredFeatures(identity), optional: [] },
    archiveId: archiveIdOf(identity),
    ...identity,
    ...(provenance === undefined ? {} : { provenance }),
    ...(request === undefined ? {} : { request }),
    ...(result === undefined ? {} : { result }),
    shardTable,
  };
  return parts.length === 0 ? own : withParts(own, parts);
}

/** The manifest of the next generation of an archive: the same files, and these parts. */
export function withParts({ parts: _, ...own }: Manifest, parts: readonly PartRecord[]): Manifest {
  const others = own.features.required.filter((feature) => !/(^|-)parts$/.test(feature));
  const added = hasSampleParts(parts) ? ['parts', 'sample-parts'] : ['parts'];
  const required = parts.length === 0 ? others : [...others, ...added];
  const features = { ...own.features, required };
  return { ...own, features, ...(parts.length === 0 ? {} : { parts }) };
}

function requiredFeatures({
  pruning,
  augmentation,
  tauSchedule,
  views,
  sampleBlocks,
  codec,
}: ArchiveIdentity): readonly string[] {
  const rendering =
    augmentation !== null && ('resample' in augmentation || 'round' in augmentation);
  const rows = pruning === undefined ? [] : isDrawn(pruning) ? ['pruned'] : ['pruned', 'listed'];
  const taus = tauSchedule === undefined ? [] : ['tau-schedule'];
  const others = [
    ...(views === undefined ? [] : ['views']),
    ...(sampleBlocks === undefined ? [] : ['sample-blocks']),
    ...('sideStates' in codec.config ? ['side-trellis'] : []),
    ...(codec.config.text === 'coded' ? ['coded-text'] : []),
    ...(codec.config.likeness === true ? ['likeness'] : []),
    ...('exact' in codec.config ? ['exact-logits'] : []),
    ...(codec.config.draws === 'counted' ? ['counted-draws'] : []),
  ];
  return [...rows, ...(rendering ? ['rendering'] : []), ...taus, ...others];
}

/** The file, a field per line: the manifest, and as its last field the sha256 of every byte before it. */
export function manifestBytes(manifest: Manifest): Uint8Array {
  const fields = Object.entries(manifest).filter(([, value]) => value !== undefined);
  const lines = fields.map(([name, value]) => `  "${name}": ${JSON.stringify(value)},\n`);
  const text = `{\n${lines.join('')}`;
  return Buffer.from(`${text}${CHECKSUM}${sha256(Buffer.from(text))}"\n}\n`);
}

const CHECKSUM = '  "checksum": "';

/** Whether the bytes are those that were written; undefined for manifests of before there was a checksum. */
export function isManifestWhole(bytes: Uint8Array): boolean | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const at = file.lastIndexOf(CHECKSUM);
  // Provenance came with the checksum: without one its name is damaged.
  if (at < 0) return file.includes('\n  "provenance": ') ? false : undefined;
  const expected = `${CHECKSUM}${sha256(file.subarray(0, at))}"\n}\n`;
  return file.subarray(at).equals(Buffer.from(expected));
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
  const version = check.count(json.version, 'version', 1);
  const manifest: Manifest = {
    format: format as 'softpack',
    version,
    minReader: check.count(json.minReader, 'minReader', 1),
    features,
    archiveId: check.digest(json.archiveId, 'archiveId'),
    ...identity,
    ...(json.provenance === undefined
      ? {}
      : { provenance: check.object(json.provenance, 'provenance') }),
    ...(json.request === undefined ? {} : { request: check.object(json.request, 'request') }),
    ...(json.result === undefined ? {} : { result: check.object(json.result, 'result') }),
    ...(identity.grid === undefined
      ? { shards: checkShards(check, json.shards, identity) }
      : { shardTable: checkShardTable(check, json.shardTable, identity, identity.grid) }),
    ...(json.parts === undefined ? {} : { parts: checkParts(check, json.parts, identity) }),
  };
  const id = archiveIdOf(identity);
  if (id !== manifest.archiveId) {
    throw new SoftpackError('CORRUPT_DATA', 'manifest was changed after it was written', {
      field: `${file}: archiveId`,
      expected: manifest.archiveId,
      found: id,
    });
  }
  check.that(version > 1 === (identity.grid !== undefined), version, 'version', '1 without a grid');
  requireAgreement(check, manifest);
  requireNamed(check, manifest);
  return manifest;
}

/** Older readers would pass over these fields, and give other labels or views. */
function requireNamed(check: FieldChecker, manifest: Manifest): void {
  const { required } = manifest.features;
  const fields = {
    ...({ 'tau-schedule': 'tauSchedule', views: 'views', parts: 'parts' } as const),
    'sample-blocks': 'sampleBlocks',
  } as const;
  for (const [feature, field] of Object.entries(fields)) {
    const agrees = required.includes(feature) === (manifest[field] !== undefined);
    check.that(agrees, required, 'features.required', `${feature} if there is ${field}`);
  }
  const named = required.includes('sample-parts') === hasSampleParts(manifest.parts);
  check.that(named, required, 'features.required', 'sample-parts if a part has samples');
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

/** Shards must be such as a writer makes, and files of their own. */
function checkShardTable(
  check: FieldChecker,
  value: JsonValue | undefined,
  identity: ArchiveIdentity,
  grid: ShardGrid,
): FileRecord {
  const record = checkFileRecord(check, value, 'shardTable');
  check.that(record.file === SHARD_TABLE_FILE, record.file, 'shardTable.file', SHARD_TABLE_FILE);
  const names = [identity.codecFile.file, identity.samplesFile?.file];
  const others = /^((codes|samples)-\d{5,}|samples\.shards)\./;
  const own = names.every((name) => name !== record.file && !others.test(name ?? ''));
  check.that(own, names, 'codecFile.file', 'a file name of its own');
  try {
    requireGrid(identity, grid);
  } catch (error) {
    throw errorAt(check.name, error, 'INVALID_FILE');
  }
  return record;
}

/** Files of the labels, in order. */
export function* shardFiles(manifest: Manifest): Generator<string> {
  const { grid, shards = [] } = manifest;
  if (grid === undefined) for (const { file } of shards) yield file;
  else
    for (let i = 0; i < shardCount(grid, manifest); i++) yield rectangleAt(grid, manifest, i).file;
}

/** Shards must cover all epochs in order, without gap or overlap, with all samples each. */
function checkShards(
  check: FieldChecker,
  value: JsonValue | undefined,
  identity: ArchiveIdentity,
): readonly ShardRecord[] {
  requireRows(check, identity);
  const { epochs, samples, codecFile, samplesFile } = identity;
  check.that(identity.layout.kind === 'fixed', identity.layout.kind, 'layout.kind', 'fixed');
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
