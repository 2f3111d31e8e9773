import { type TarMember, tarMembers } from '../../container/read-tar.js';
import { readTorchFile } from '../../container/torch/open.js';
import { describeValue, PickleDict, TorchTensor } from '../../container/torch/values.js';
import { FieldChecker } from '../../core/check.js';
import { parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import { type FloatDtype, floatsOf } from '../../labels/elements.js';
import type { ByteFile, ByteStore } from '../../store/byte-store.js';
import { memoryFile } from '../../store/memory-file.js';
import { MAX_POSITIONS } from '../../tokens/sequence-block.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { requireVocabulary, type TokenLabelFile } from './label-file.js';
import { SparseBuilder } from './sparse-builder.js';
import { zstdDecompress } from './zstd.js';

/**
 * Cached logits of Megatron-LM, format 2: a tar per data-parallel rank and save, `dp{rank}__{last}.tar`, with
 * `_meta.json` and a member `{iteration}.pt.zst` per iteration: log-probabilities [positions, samples, k], the lower
 * 16 bits of the ids, and their 17th bit. Later versions name samples `{from}-{to}` instead of iterations. The text is
 * not in the files.
 */
export interface MegatronOptions {
  readonly vocabulary: number;
}

/** Ids have 17 bits. */
const MOST_IDS = 2 ** 17;
const TAR = /^(?:cp0_)?dp(\d+)__(?:\d+-)?(\d+)\.tar$/;
const MEMBER = /^(\d+)(?:-\d+)?\.pt\.zst$/;
const META = '_meta.json';
const MAX_META = 2 ** 20;
const MAX_PAYLOAD = 2 ** 31;
/** Entries that a nucleus left out have -1e3 or -1e4 instead of a log-probability, and no valid id. */
const LEFT_OUT = -1000;
const VERSION = 2;

export async function readMegatron(
  store: ByteStore,
  { vocabulary }: MegatronOptions,
): Promise<TokenLabelFile> {
  if (vocabulary > MOST_IDS) {
    throw new SoftpackError('UNSUPPORTED', 'the format has ids of 17 bits', {
      field: 'vocabulary',
      expected: `at most ${MOST_IDS}`,
      found: vocabulary,
    });
  }
  requireVocabulary(store.name, vocabulary, undefined);
  const ranks = await tarsByRank(store);
  return {
    vocabulary,
    notes: ['Megatron-LM stores no text: token ids must come from the data it was run on'],
    async *sequences(signal) {
      const streams = ranks.map((names) => payloadsOf(store, names, signal));
      try {
        while (true) {
          const payloads: Payload[] = [];
          for (const stream of streams) {
            const { value } = await stream.next();
            if (value !== undefined) payloads.push(value);
          }
          if (payloads.length === 0) return;
          requireSame(store.name, payloads, streams.length);
          yield* inOrder(payloads, vocabulary);
        }
      } finally {
        for (const stream of streams) await stream.return(undefined);
      }
    },
  };
}

/** Names of the tars of every rank, in order of their iterations. */
async function tarsByRank(store: ByteStore): Promise<readonly (readonly string[])[]> {
  const ranks: { name: string; last: number }[][] = [];
  let count = 0;
  for (const name of (await store.list?.()) ?? []) {
    const match = TAR.exec(name);
    if (match === null) continue;
    const rank = Number(match[1]);
    if (rank >= 2 ** 16) throw invalidFile(store.name, name, 'rank is too large', { found: rank });
    ranks[rank] ??= [];
    ranks[rank].push({ name, last: Number(match[2]) });
    count += 1;
  }
  const missing = Array.from(ranks, (tars) => tars === undefined).indexOf(true);
  if (count === 0 || missing >= 0) {
    throw new SoftpackError('NOT_FOUND', 'files are missing', {
      field: store.name,
      expected: 'dp{rank}__{iteration}.tar of every rank from 0 on',
      found: count === 0 ? 'none' : `none of rank ${missing}`,
    });
  }
  return ranks.map((tars) => tars.sort((a, b) => a.last - b.last).map(({ name }) => name));
}

interface Payload {
  readonly name: string;
  readonly iteration: number;
  /** Samples that a rank takes in one go (micro batch). */
  readonly batch: number;
  readonly shape: readonly [positions: number, samples: number, k: number];
  readonly values: Float32Array;
  /** Lower 16 bits of the ids, and the 17th. */
  readonly low: Uint16Array;
  readonly high: Uint8Array;
}

async function* payloadsOf(
  store: ByteStore,
  names: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Payload, undefined> {
  for (const name of names) {
    const file = await store.open(name);
    try {
      let batch: number | undefined;
      for await (const member of tarMembers(file)) {
        throwIfAborted(signal);
        if (member.name === META) {
          batch = metaBatch(file.name, await contentOf(file, member, MAX_META));
          continue;
        }
        const match = MEMBER.exec(member.name);
        if (match === null) continue;
        if (batch === undefined) {
          throw invalidFile(file.name, META, 'missing', { expected: 'the first member' });
        }
        yield await openPayload(file, member, Number(match[1]), batch);
      }
    } finally {
      await file.close();
    }
  }
  return undefined;
}

function metaBatch(file: string, bytes: Uint8Array): number {
  const check = new FieldChecker(`${file}: ${META}`, 'INVALID_FILE');
  const meta = check.object(parseJson(file, META, bytes), 'content');
  const saver = check.object(meta.saver, 'saver');
  if (saver.format_version !== VERSION) {
    throw new SoftpackError('UNSUPPORTED', 'another version of the format', {
      field: `${file}: ${META}: saver.format_version`,
      expected: VERSION,
      found: saver.format_version ?? 1,
    });
  }
  return check.count(saver.mbs_save, 'saver.mbs_save', 1, 2 ** 24);
}

async function contentOf(file: ByteFile, member: TarMember, most: number): Promise<Uint8Array> {
  if (member.size > most) {
    throw invalidFile(file.name, member.name, 'member is too large', {
      expected: `at most ${most} bytes`,
      found: member.size,
    });
  }
  const bytes = new Uint8Array(member.size);
  await file.read(member.offset, bytes);
  return bytes;
}

async function openPayload(
  file: ByteFile,
  member: TarMember,
  iteration: number,
  batch: number,
): Promise<Payload> {
  const name = `${file.name}: ${member.name}`;
  const compressed = await contentOf(file, member, MAX_PAYLOAD);
  const bytes = await zstdDecompress(file.name, member.name, compressed, MAX_PAYLOAD);
  await using torch = await readTorchFile(memoryFile(name, bytes));
  const root = torch.root instanceof PickleDict ? torch.root : new PickleDict();
  const tensor = (key: string, dtypes: readonly string[], shape?: readonly number[]) => {
    const found = root.get(key);
    const fits =
      found instanceof TorchTensor &&
      found.shape.length === 3 &&
      dtypes.includes(found.dtype) &&
      (shape === undefined || String(found.shape) === String(shape));
    if (fits) return found;
    throw invalidFile(name, key, 'not the expected tensor', {
      expected: `${dtypes.join(' or ')} [${shape ?? 'positions, samples, k'}]`,
      found: describeValue(found),
    });
  };
  const values = tensor('values', ['F16', 'BF16', 'F32']);
  const [positions, samples, k] = values.shape;
  if (positions > MAX_POSITIONS || samples % batch !== 0 || values.shape.includes(0)) {
    throw invalidFile(name, 'values', 'wrong shape', {
      expected: `[positions, a multiple of ${batch} samples, k]`,
      found: `[${values.shape}]`,
    });
  }
  const low = tensor('indices_low', ['U16'], values.shape);
  const high = tensor('bit_17', ['BOOL'], values.shape);
  return {
    ...{ name, iteration, batch, shape: [positions, samples, k] },
    values: floatsOf(await torch.read(values), values.dtype as FloatDtype),
    low: new Uint16Array((await torch.read(low)).buffer),
    high: await torch.read(high),
  };
}

function requireSame(folder: string, payloads: readonly Payload[], ranks: number): void {
  const [{ iteration, shape, batch, name }] = payloads;
  const other = payloads.find(
    (p) => p.iteration !== iteration || p.batch !== batch || String(p.shape) !== String(shape),
  );
  if (other === undefined && payloads.length === ranks) return;
  throw invalidFile(folder, `iteration ${iteration}`, 'ranks do not fit together', {
    expected: `iteration ${iteration} of all ${ranks} ranks, each [${shape}], as ${name}`,
    found: other === undefined ? `${payloads.length} ranks` : other.name,
  });
}

/** Samples in the order that training saw them: ranks take micro batches in turn. */
function* inOrder(payloads: readonly Payload[], vocabulary: number): Generator<TokenSequence> {
  const [{ batch, shape }] = payloads;
  for (let begin = 0; begin < shape[1]; begin += batch) {
    for (const payload of payloads) {
      for (let sample = begin; sample < begin + batch; sample++) {
        yield sequenceOf(payload, sample, vocabulary);
      }
    }
  }
}

function sequenceOf(payload: Payload, sample: number, vocabulary: number): TokenSequence {
  const { shape, values, low, high } = payload;
  const [positions, samples, k] = shape;
  const name = `${payload.name}: sample ${sample}`;
  const builder = new SparseBuilder(name, vocabulary);
  for (let position = 0; position < positions; position++) {
    const begin = (position * samples + sample) * k;
    for (let i = begin; i < begin + k; i++) {
      if (values[i] > LEFT_OUT || Number.isNaN(values[i])) {
        builder.add((high[i] === 0 ? 0 : 2 ** 16) + low[i], values[i]);
      }
    }
    builder.endRow();
  }
  return { name, first: 0, rows: positions, labels: builder.finish() };
}
