import { FieldChecker } from '../../core/check.js';
import { parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import type { ByteFile, ByteStore } from '../../store/byte-store.js';
import { MAX_POSITIONS } from '../../tokens/sequence-block.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { type HiddenDtype, hiddenBytes, readStates } from './hidden-states.js';
import { requireTokens, type TokenLabelFile } from './label-file.js';

/**
 * A target cache of DeepSpec, version 2: `manifest.json`, `samples.idx` with a record of 56 bytes per sample (sample
 * u64, shard u32, length u32, five offsets u64), and shards with ids (i32), attention mask and loss mask (u8), hidden
 * states of the chosen layers, and those of the last layer, which are the labels.
 */
export interface DeepSpecOptions {
  readonly vocabulary: number;
}

const RECORD_BYTES = 56;
const MAX_MANIFEST = 2 ** 26;
const MAX_SHARDS = 2 ** 20;
const VERSION = 2;
const DTYPES: Readonly<Record<string, HiddenDtype>> = {
  bfloat16: 'BF16',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
};

export async function readDeepSpec(
  store: ByteStore,
  { vocabulary }: DeepSpecOptions,
): Promise<TokenLabelFile> {
  const cache = await readManifest(store);
  return {
    vocabulary,
    notes:
      cache.dtype === 'BF16' ? [] : ['FP8 of DeepSpec has no scales: large values are saturated'],
    async *sequences(signal) {
      const index = await store.open('samples.idx');
      let shard: { readonly id: number; readonly file: ByteFile } | undefined;
      try {
        requireIndex(index, cache.samples);
        for (let sample = 0; sample < cache.samples; sample++) {
          throwIfAborted(signal);
          const record = await readRecord(index, sample);
          if (shard?.id !== record.shard) {
            await shard?.file.close();
            shard = undefined;
            const name = cache.shards[record.shard];
            if (name === undefined) throw badRecord(index.name, sample, 'shard', record.shard);
            shard = { id: record.shard, file: await store.open(name) };
          }
          yield await openSample(shard.file, cache, record, vocabulary);
        }
      } finally {
        await shard?.file.close();
        await index.close();
      }
    },
  };
}

interface Cache {
  readonly samples: number;
  readonly dtype: HiddenDtype;
  readonly width: number;
  readonly shards: readonly string[];
}

async function readManifest(store: ByteStore): Promise<Cache> {
  const file = await store.open('manifest.json');
  try {
    const check = new FieldChecker(file.name, 'INVALID_FILE');
    check.count(file.size, 'size', 2, MAX_MANIFEST);
    const bytes = new Uint8Array(file.size);
    await file.read(0, bytes);
    const manifest = check.object(parseJson(file.name, 'content', bytes), 'content');
    if (manifest.version !== VERSION) {
      throw new SoftpackError('UNSUPPORTED', 'another version of the cache', {
        field: `${file.name}: version`,
        expected: VERSION,
        found: manifest.version,
      });
    }
    const name = check.oneOf(manifest.hidden_dtype, 'hidden_dtype', Object.keys(DTYPES));
    if (manifest.token_dtype !== undefined)
      check.oneOf(manifest.token_dtype, 'token_dtype', ['int32']);
    if (manifest.mask_dtype !== undefined)
      check.oneOf(manifest.mask_dtype, 'mask_dtype', ['uint8']);
    if (manifest.index_record_size !== undefined) {
      check.count(manifest.index_record_size, 'index_record_size', RECORD_BYTES, RECORD_BYTES);
    }
    const shards = check.list(manifest.shards, 'shards').map((shard, i) => {
      const { shard_id: id, file_name: fileName } = check.object(shard, `shards[${i}]`);
      check.count(id, `shards[${i}].shard_id`, i, i);
      return check.fileName(fileName, `shards[${i}].file_name`);
    });
    check.count(
      manifest.num_shards,
      'num_shards',
      shards.length,
      Math.min(shards.length, MAX_SHARDS),
    );
    return {
      samples: check.count(manifest.num_samples, 'num_samples', 1),
      dtype: DTYPES[name],
      width: check.count(manifest.hidden_size, 'hidden_size', 1, 2 ** 20),
      shards,
    };
  } finally {
    await file.close();
  }
}

function requireIndex(index: ByteFile, samples: number): void {
  if (index.size === samples * RECORD_BYTES) return;
  throw invalidFile(index.name, 'size', 'index does not fit the manifest', {
    expected: `${samples} records of ${RECORD_BYTES} bytes`,
    found: index.size,
  });
}

interface SampleRecord {
  readonly sample: number;
  readonly shard: number;
  readonly length: number;
  readonly ids: number;
  readonly lossMask: number;
  readonly states: number;
}

async function readRecord(index: ByteFile, sample: number): Promise<SampleRecord> {
  const bytes = new Uint8Array(RECORD_BYTES);
  await index.read(sample * RECORD_BYTES, bytes);
  const view = new DataView(bytes.buffer);
  const wide = (at: number) => Number(view.getBigUint64(at, true));
  const length = view.getUint32(12, true);
  if (length < 1 || length > MAX_POSITIONS) throw badRecord(index.name, sample, 'seq_len', length);
  return {
    sample,
    shard: view.getUint32(8, true),
    length,
    ids: wide(16),
    lossMask: wide(32),
    states: wide(48),
  };
}

async function openSample(
  file: ByteFile,
  { dtype, width }: Cache,
  { sample, length, ids, lossMask, states }: SampleRecord,
  vocabulary: number,
): Promise<TokenSequence> {
  const name = `${file.name}: sample ${sample}`;
  const within = (field: string, offset: number, bytes: number) => {
    if (offset + bytes <= file.size) return;
    throw invalidFile(name, field, 'reaches beyond the shard', {
      expected: `at most ${file.size} bytes`,
      found: offset + bytes,
    });
  };
  within('input_ids', ids, 4 * length);
  within('loss_mask', lossMask, length);
  within('target_last_hidden_states', states, length * width * hiddenBytes(dtype));
  const tokens = new Int32Array(length);
  await file.read(ids, new Uint8Array(tokens.buffer));
  const mask = new Uint8Array(length);
  await file.read(lossMask, mask);
  const wrong = mask.findIndex((byte) => byte > 1);
  if (wrong >= 0) {
    throw invalidFile(name, `loss_mask[${wrong}]`, 'not a mask', {
      expected: '0 or 1',
      found: mask[wrong],
    });
  }
  const stored = { file, name, dtype, offset: states, stride: width, width };
  return {
    name,
    tokens: requireTokens(name, tokens, vocabulary),
    first: 0,
    rows: length,
    // Their mask marks tokens to learn: the label of a token belongs to the position before it.
    mask: Uint8Array.from({ length }, (_, i) => mask[i + 1] ?? 0),
    labels: { kind: 'hidden', width, read: (start, count) => readStates(stored, start, count) },
  };
}

function badRecord(file: string, sample: number, field: string, found: number): SoftpackError {
  return invalidFile(file, `record ${sample}.${field}`, 'record does not fit the cache', { found });
}
