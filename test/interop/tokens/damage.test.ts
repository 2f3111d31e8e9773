import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import { readTokenArray } from '#src/interop/tokens/arrays.js';
import { readAxolotl } from '#src/interop/tokens/axolotl.js';
import { readDeepSpec } from '#src/interop/tokens/deepspec.js';
import { readDistillKit } from '#src/interop/tokens/distillkit.js';
import type { TokenLabelFile } from '#src/interop/tokens/label-file.js';
import { readLlamaBase } from '#src/interop/tokens/llama-base.js';
import { readMegatron } from '#src/interop/tokens/megatron.js';
import { readSglang } from '#src/interop/tokens/sglang.js';
import { vllmHiddenSequence } from '#src/interop/tokens/vllm-hidden.js';
import { readVllmLogprobs } from '#src/interop/tokens/vllm-logprobs.js';
import type { TokenSequence } from '#src/tokens/token-source.js';
import { randomStream } from '../../kernels/support.js';
import {
  bfloats,
  bytesOf,
  folderFiles,
  memoryFile,
  memoryStore,
  SAMPLES,
  safetensors,
} from './fixture.js';

type Files = ReadonlyMap<string, Uint8Array>;

interface Layout {
  readonly files: Files;
  readonly vocabulary: number;
  open(files: Files): TokenLabelFile | Promise<TokenLabelFile>;
}

const one = (files: Files) => memoryFile(files.get('file') ?? new Uint8Array()).file;
const file = (bytes: Uint8Array): Files => new Map([['file', bytes]]);
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

function llamaBase(): Uint8Array {
  const bytes = Buffer.alloc(20 + 4 * 6 + 2 * 2 * (2 * 3 + 4));
  bytes.write('_logits_', 'latin1');
  for (const [i, value] of [6, 5, 1, 0, 1, 2, 3, 4, 0].entries())
    bytes.writeInt32LE(value, 8 + 4 * i);
  for (const at of [44, 64]) {
    bytes.writeFloatLE(1e-4, at);
    bytes.writeFloatLE(-7, at + 4);
    for (let id = 0; id < 5; id++) bytes.writeUInt16LE(60_000 - 9000 * id, at + 8 + 2 * id);
  }
  return bytes;
}

function vllmJson(): Uint8Array {
  const entry = (logprob: number, rank: number) => ({ logprob, rank, decoded_token: 'x' });
  const labels = { 11: entry(-0.25, 1), 3: entry(-2, 2), 40: entry(-7, 9) };
  return json({
    prompt_token_ids: [7, 40, 5],
    prompt_logprobs: [null, labels, { 5: entry(-1, 1) }],
  });
}

function axolotl(): Uint8Array {
  const rows = [
    {
      input_ids: [9, 8, 7],
      logprobs: [
        [-1, -2],
        [-0.5, -4],
      ],
      target_token_ids: [
        [8, 1],
        [7, 2],
      ],
    },
    { input_ids: [9, 8], labels: [-100, 8], logprobs: [[{ token: 'token_id:8', logprob: -0.1 }]] },
  ];
  return Buffer.from(rows.map((row) => JSON.stringify(row)).join('\n'));
}

function deepSpec(): Files {
  const parts = [
    bytesOf(Int32Array.of(1, 2, 3)),
    new Uint8Array(3).fill(1),
    Uint8Array.of(0, 1, 1),
    bfloats(new Array(12).fill(1)),
    bfloats(Array.from({ length: 12 }, (_, i) => i)),
  ];
  const index = Buffer.alloc(56);
  index.writeUInt32LE(3, 12);
  let at = 0;
  for (const [i, part] of parts.entries()) {
    index.writeBigUInt64LE(BigInt(at), 16 + 8 * i);
    at += part.length;
  }
  const manifest = {
    ...{ version: 2, num_samples: 1, num_shards: 1, target_layer_ids: [1] },
    ...{ hidden_dtype: 'bfloat16', hidden_size: 4 },
    shards: [{ shard_id: 0, file_name: 'shard-0.bin' }],
  };
  return new Map<string, Uint8Array>([
    ['manifest.json', json(manifest)],
    ['samples.idx', index],
    ['shard-0.bin', Buffer.concat(parts)],
  ]);
}

const vllmHidden = safetensors([
  ['hidden_states', 'BF16', [2, 2, 4], bfloats(Array.from({ length: 16 }, (_, i) => i))],
  ['token_ids', 'I64', [2], bytesOf(BigInt64Array.of(5n, 6n))],
]);
const array = safetensors([
  ['logits', 'F32', [3, 5], bytesOf(Float32Array.from({ length: 15 }, (_, i) => Math.sin(i)))],
]);

const LAYOUTS: Record<string, Layout> = {
  llama: { files: file(llamaBase()), vocabulary: 5, open: (own) => readLlamaBase(one(own)) },
  vllm: {
    ...{ files: file(vllmJson()), vocabulary: 50 },
    open: (own) => readVllmLogprobs(one(own), { vocabulary: 50 }),
  },
  'vllm-hidden': {
    ...{ files: file(vllmHidden), vocabulary: 9 },
    open: (own) => ({
      ...{ vocabulary: 9, notes: [] },
      async *sequences() {
        yield await vllmHiddenSequence(one(own), { vocabulary: 9 });
      },
    }),
  },
  sglang: {
    ...{ files: file(await readFile(join(SAMPLES, 'sglang/nested.json'))), vocabulary: 50 },
    open: (own) => readSglang(one(own), { vocabulary: 50 }),
  },
  'sglang, arrays': {
    ...{ files: file(await readFile(join(SAMPLES, 'sglang/base64.jsonl'))), vocabulary: 50 },
    open: (own) => readSglang(one(own), { vocabulary: 50 }),
  },
  deepspec: {
    ...{ files: deepSpec(), vocabulary: 9 },
    open: (own) => readDeepSpec(memoryStore(own), { vocabulary: 9 }),
  },
  distillkit: {
    ...{ files: await folderFiles(join(SAMPLES, 'distillkit/budget')), vocabulary: 2 ** 18 },
    open: (own) => readDistillKit(memoryStore(own), {}),
  },
  megatron: {
    ...{ files: await folderFiles(join(SAMPLES, 'megatron')), vocabulary: 131_072 },
    open: (own) => readMegatron(memoryStore(own), { vocabulary: 131_072 }),
  },
  axolotl: {
    ...{ files: file(axolotl()), vocabulary: 50 },
    open: (own) => readAxolotl(one(own), { vocabulary: 50 }),
  },
  logits: {
    ...{ files: file(array), vocabulary: 5 },
    open: (own) => readTokenArray(one(own), { kind: 'logits' }),
  },
};

/** A few bytes changed, or the end missing, or more behind it. */
function damaged(files: Files, random: () => number): Files {
  const names = [...files.keys()].filter((name) => !name.startsWith('expected'));
  const name = names[Math.floor(names.length * random())];
  const bytes = Buffer.from(files.get(name) ?? []);
  const place = () => Math.floor(bytes.length * random());
  const kind = random();
  if (kind < 0.15) return new Map(files).set(name, bytes.subarray(0, place()));
  if (kind < 0.2) return new Map(files).set(name, Buffer.concat([bytes, Buffer.alloc(9, 48)]));
  for (let i = 0; i < 1 + 3 * random(); i++) {
    const value = [0, 0xff, 0x7f, 0x80, 48, 57, 45][Math.floor(7 * random())];
    const at = place();
    if (kind < 0.6) bytes[at] = value;
    else if (kind < 0.8) bytes[at] ^= 1 << Math.floor(8 * random());
    else bytes.fill(value, at, Math.min(at + 4, bytes.length));
  }
  return new Map(files).set(name, bytes);
}

/** What every reader promises of a sequence. */
async function checkSequence({ tokens, first, rows, mask, labels }: TokenSequence, most: number) {
  for (const id of tokens ?? []) expect(id >= 0 && id < most).toBe(true);
  if (tokens !== undefined) expect(first + rows).toBeLessThanOrEqual(tokens.length);
  if (mask !== undefined) expect(mask).toHaveLength(rows);
  if (labels.kind !== 'sparse') {
    const values = await labels.read(0, rows);
    expect(values).toHaveLength(rows * labels.width);
    return;
  }
  expect([labels.offsets.length, labels.offsets[0]]).toEqual([rows + 1, 0]);
  for (let row = 0; row < rows; row++) {
    const [begin, end] = [labels.offsets[row], labels.offsets[row + 1]];
    const own = labels.ids.subarray(begin, end);
    expect(new Set(own).size).toBe(end - begin);
    for (const id of own) expect(id).toBeLessThan(most);
    const logs = labels.logProbs.subarray(begin, end);
    expect(logs.reduce((sum, log) => sum + Math.exp(log), 0)).toBeLessThan(1.0001);
  }
}

/** Files of compressed parts take longer to read. */
const RUNS = { distillkit: 20, megatron: 40 };
const MOST_RUNS = 150;

describe.each(Object.entries(LAYOUTS))('files of %s', (name, { files, vocabulary, open }) => {
  const read = async (own: Files) => {
    let count = 0;
    for await (const sequence of (await open(own)).sequences()) {
      await checkSequence(sequence, vocabulary);
      count++;
    }
    return count;
  };

  it('are read, and with any damage give labels that are some or a typed error', async () => {
    expect(await read(files)).toBeGreaterThan(0);
    const random = randomStream(20);
    let refused = 0;
    const runs = Reflect.get(RUNS, name) ?? MOST_RUNS;
    for (let run = 0; run < runs; run++) {
      const own = damaged(files, random);
      await read(own).catch((error: unknown) => {
        if (!(error instanceof SoftpackError)) throw error;
        refused++;
      });
    }
    expect(refused).toBeGreaterThan(0);
  });
});
