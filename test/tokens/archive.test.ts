import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { importTokens } from '#src/interop/import-tokens.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import type { TokenPreset } from '#src/tokens/config.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import type { SparseRows } from '#src/tokens/token-source.js';
import { tokenWindows } from '#src/tokens/windows.js';
import { prepareTargets } from '#src/training/token-targets.js';
import { softpack } from '../cli/softpack.js';
import { temporaryDirectory } from '../temporary.js';
import { distribution, ranked, testTeacher } from './sources.js';

const temporary = await temporaryDirectory();
let folders = 0;
/** A folder that is not there yet. */
const newFolder = () => temporary.path(`tokens-${folders++}`);

const VOCABULARY = 397;
/** A text of one token, an empty one, some around a group of 64 labels. */
const LENGTHS = [1, 0, 7, 64, 65, 130];
const teacher = testTeacher({ vocabulary: VOCABULARY, lengths: LENGTHS });

/** Probabilities of one label by id. */
function entriesOf(ids: Int32Array, probabilities: Float32Array): Map<number, number> {
  const entries = new Map<number, number>();
  for (const [i, p] of probabilities.entries()) {
    if (p === 0) continue;
    expect(entries.has(ids[i])).toBe(false);
    entries.set(ids[i], p);
  }
  return entries;
}

async function packed(name: TokenPreset, source = teacher.source) {
  const out = newFolder();
  const result = await packTokens({ source, out, codec: { name } });
  return { out, result };
}

describe.each<TokenPreset>(['head-tail', 'tiny', 'topk', 'topk-vq', 'sampled'])('%s', (name) => {
  it('gives back texts, heads and probabilities, and the same labels wherever reading starts', async () => {
    const { out, result } = await packed(name);
    const labels = LENGTHS.reduce((a, b) => a + b, 0);
    expect(result).toMatchObject({ sequences: LENGTHS.length, labels, tokens: labels });
    await using archive = await openTokenArchive(out);
    for (const [s, length] of LENGTHS.entries()) {
      const text = await archive.text(s);
      expect(text).toEqual({ tokens: teacher.texts[s], first: 0, labels: length });
      const all = await archive.labels(s);
      expect(all.positions).toBe(length);
      for (let t = 0; t < length; t++) {
        const begin = t * all.width;
        const p = distribution(teacher.logits[s].subarray(t * VOCABULARY, (t + 1) * VOCABULARY));
        checkLabel(
          name,
          p,
          all.ids.subarray(begin, begin + all.width),
          all.probabilities.subarray(begin, begin + all.width),
        );
        expect(all.next[t]).toBe(teacher.texts[s][t + 1] ?? -1);
      }
      for (const start of [0, 1, 63, 64, length - 1].filter((at) => at >= 0 && at < length)) {
        const count = Math.min(3, length - start);
        const some = await archive.labels(s, { start, count });
        const from = start * all.width;
        const to = (start + count) * all.width;
        expect(some.ids).toEqual(all.ids.slice(from, to));
        expect(some.probabilities).toEqual(all.probabilities.slice(from, to));
        expect(some.next).toEqual(all.next.slice(start, start + count));
        expect(some.first).toBe(start);
      }
    }
  });
});

function checkLabel(
  name: TokenPreset,
  p: readonly number[],
  ids: Int32Array,
  probabilities: Float32Array,
): void {
  const entries = entriesOf(ids, probabilities);
  const mass = probabilities.reduce((a, b) => a + b, 0);
  expect(mass).toBeLessThanOrEqual(1);
  const order = ranked(p);
  if (name === 'topk') {
    expect([...entries.keys()].sort((a, b) => a - b)).toEqual(
      order.slice(0, 20).sort((a, b) => a - b),
    );
    // Half a unit of float16 at 8 to 16: 2^-8.
    for (const [id, q] of entries) expect(Math.abs(Math.log(q / p[id]))).toBeLessThan(2 ** -7);
    return;
  }
  const head = { 'head-tail': 12, tiny: 8, 'topk-vq': 20, sampled: 0 }[name];
  for (const id of order.slice(0, head)) expect(entries.has(id)).toBe(true);
  const ordered = name === 'topk-vq' ? 20 : Math.min(head, 8);
  expect(Array.from(ids.subarray(0, ordered))).toEqual(order.slice(0, ordered));
  if (name !== 'topk-vq') expect(mass).toBeCloseTo(1, 5);
}

it('draws each id as often as its probability tells, rounded up or down', async () => {
  const out = newFolder();
  const teacher = testTeacher({ vocabulary: 300, lengths: [200, 7] });
  await packTokens({ source: teacher.source, out, codec: { name: 'sampled', samples: 50 } });
  await using archive = await openTokenArchive(out);
  for (const [sequence, logits] of teacher.logits.entries()) {
    const { ids, probabilities } = await archive.labels(sequence);
    for (let row = 0; row < logits.length / 300; row++) {
      const p = distribution(logits.subarray(row * 300, (row + 1) * 300));
      const found = new Float64Array(300);
      for (let i = row * 50; i < (row + 1) * 50; i++) found[ids[i]] += 50 * probabilities[i];
      // Behind the last entry stands id 0 with probability 0.
      for (const [id, count] of found.entries()) {
        expect(count).toBeCloseTo(Math.round(count), 4);
        expect(Math.abs(count - 50 * p[id])).toBeLessThan(1.0001);
      }
    }
  }
});

it('samples of the tail are unbiased', async () => {
  // The same distribution at many positions: shares of unlisted ids must be what they are in it.
  const vocabulary = 50;
  const rows = 4000;
  const one = testTeacher({ vocabulary, lengths: [1] }).logits[0];
  const read = async (_: number, count: number) =>
    Float32Array.from({ length: count * vocabulary }, (_, i) => one[i % vocabulary]);
  const labels = { kind: 'logits', width: vocabulary, read } as const;
  const source = {
    vocabulary,
    async *sequences() {
      yield { name: 'one', first: 0, rows, labels };
    },
  };
  const out = newFolder();
  const codec = { name: 'head-tail', k: 4, ordered: 4, stages: 16 } as const;
  await packTokens({ source, out, codec });
  await using archive = await openTokenArchive(out);
  const { ids, probabilities } = await archive.labels(0);
  const sums = new Float64Array(vocabulary);
  for (const [i, id] of ids.entries()) sums[id] += probabilities[i] / rows;
  const p = distribution(one);
  const tail = ranked(p).slice(4);
  const rest = tail.reduce((sum, id) => sum + p[id], 0);
  for (const id of tail) {
    const share = p[id] / rest;
    const deviation = rest * Math.sqrt((share * (1 - share)) / (8 * rows));
    expect(Math.abs(sums[id] - p[id])).toBeLessThan(5 * deviation);
  }
});

it('labels without a text, and masks', async () => {
  const own = testTeacher({ vocabulary: 60, lengths: [70], text: false, masked: true });
  const { out } = await packed('head-tail', own.source);
  await using archive = await openTokenArchive(out);
  expect(await archive.text(0)).toEqual({ first: 0, labels: 70 });
  expect((await archive.labels(0, { start: 65, count: 0 })).ids).toHaveLength(0);
  const { counts, next } = await archive.labels(0, { start: 65, count: 4 });
  expect(Array.from(counts ?? [])).toEqual([1, 0, 1, 0]);
  expect(Array.from(next)).toEqual([-1, -1, -1, -1]);
});

describe('labels that list a few ids', () => {
  const own = testTeacher({ vocabulary: 300, lengths: [9, 30], kind: 'sparse', entries: 10 });

  it('are stored with the tail that is named', async () => {
    const out = newFolder();
    const codec = { name: 'topk', k: 10, tail: 'uniform' } as const;
    await packTokens({ source: own.source, out, codec });
    await using archive = await openTokenArchive(out);
    const { tail, probabilities } = await archive.labels(1);
    expect(tail).toEqual({ kind: 'uniform' });
    expect(probabilities.every((p) => p > 0)).toBe(true);
  });

  it.each([
    ['a prior of a tail that is not there', { name: 'topk', k: 5, tail: 'prior' }, 'UNSUPPORTED'],
    ['samples of a tail that is not there', { name: 'head-tail' }, 'UNSUPPORTED'],
    ['more ids than a label has', { name: 'topk-vq' }, 'INVALID_ARGUMENT'],
    ['samples and another tail', { name: 'topk', samples: 4 }, 'INVALID_ARGUMENT'],
    ['an order of more ids than there are', { name: 'tiny', ordered: 9 }, 'INVALID_ARGUMENT'],
  ] as const)('refuse %s', async (_, codec, code) => {
    const out = newFolder();
    await expect(packTokens({ source: own.source, out, codec })).rejects.toMatchObject({ code });
  });
});

it('the prior of the tail is its mean over the labels, and the loss is given it', async () => {
  const out = newFolder();
  const codec = { name: 'topk', k: 6, tail: 'prior' } as const;
  await packTokens({ source: teacher.source, out, codec });
  const sums = new Array<number>(VOCABULARY).fill(0);
  for (const own of teacher.logits) {
    for (let at = 0; at < own.length; at += VOCABULARY) {
      const p = distribution(own.subarray(at, at + VOCABULARY));
      for (const id of ranked(p).slice(6)) sums[id] += p[id];
    }
  }
  const total = sums.reduce((a, b) => a + b, 0);
  await using archive = await openTokenArchive(out);
  const { tail } = await archive.labels(5, { count: 2 });
  if (tail.kind !== 'prior') throw new Error(tail.kind);
  for (const [id, sum] of sums.entries()) {
    // One label's mass in all is added to the ids, and float16 has 11 bits of logarithms up to 16.
    const wanted = (sum + 1 / VOCABULARY) / (total + 1);
    expect(Math.abs(Math.log(tail.prior[id] / wanted))).toBeLessThan(2 ** -7);
  }
  for await (const { targets } of tokenWindows(archive, { length: 64 })) {
    expect(targets.tail).toEqual(tail);
  }
});

it('refuses tails of a predictor by their name, wherever they are named', async () => {
  const tail = 'predictor' as never;
  const refused = { code: 'UNSUPPORTED', found: "'predictor'" };
  const out = newFolder();
  const { source } = testTeacher({ vocabulary: 9, lengths: [2] });
  await expect(packTokens({ source, out, codec: { name: 'topk', tail } })).rejects.toMatchObject({
    ...refused,
    field: 'codec.tail',
  });
  await expect(importTokens({ source: 'nothing', out, tail })).rejects.toMatchObject(refused);
  const { err } = await softpack(['tokens', 'import', 'x', '--tail', 'predictor', '--out', out]);
  expect(err).toContain('teaches the errors of the predictor');
  const other = await softpack(['tokens', 'import', 'x', '--tail', 'others', '--out', out]);
  expect(other.err).toContain('Allowed choices are sampled, ghost');
  const targets = {
    ...{ kind: 'listed' as const, vocabulary: 2, positions: 1, width: 1, tail: { kind: tail } },
    ...{ ids: Int32Array.of(0), probabilities: Float32Array.of(1), next: Int32Array.of(0) },
  } as const;
  expect(() => prepareTargets(targets, 1)).toThrow(
    expect.objectContaining({ ...refused, field: 'targets: tail.kind' }),
  );
});

describe('labels at the edge', () => {
  const vocabulary = 40;
  const NONE = Number.NEGATIVE_INFINITY;
  const rows = [
    // No tail at all: six ids that may be, one that is certain, a few equal ones.
    Float32Array.from({ length: vocabulary }, (_, id) => (id < 6 ? id : NONE)),
    Float32Array.from({ length: vocabulary }, (_, id) => (id === 7 ? 800 : 0)),
    new Float32Array(vocabulary),
  ];
  const read = async (start: number, count: number) =>
    Float32Array.from(rows.slice(start, start + count).flatMap((row) => Array.from(row)));
  const source = {
    vocabulary,
    async *sequences() {
      const none = async () => new Float32Array();
      const nothing = { kind: 'logits', width: vocabulary, read: none } as const;
      yield { name: 'empty', first: 0, rows: 0, labels: nothing };
      const labels = { kind: 'logits', width: vocabulary, read } as const;
      yield { name: 'edge', first: 0, rows: rows.length, labels };
    },
  };

  it.each([
    { name: 'head-tail' },
    { name: 'tiny' },
    { name: 'head-tail', k: vocabulary },
    { name: 'head-tail', k: 3 },
    { name: 'topk-vq' },
    { name: 'topk', k: vocabulary },
    { name: 'sampled' },
  ] as const)('are stored and read, %j', async (codec) => {
    const out = newFolder();
    await packTokens({ source, out, codec });
    await using archive = await openTokenArchive(out);
    const { ids, probabilities, width } = await archive.labels(1);
    for (const [t, row] of rows.entries()) {
      const p = distribution(row);
      let mass = 0;
      for (let e = t * width; e < (t + 1) * width; e++) {
        // Quantised values leave a little mass to ids that have none.
        if (probabilities[e] > 0.01) expect(p[ids[e]]).toBeGreaterThan(0);
        mass += probabilities[e];
      }
      expect(mass).toBeLessThanOrEqual(1);
      if (codec.name === 'head-tail') expect(mass).toBeGreaterThan(0.9);
    }
  });
});

it.each<[string, Partial<SparseRows>, string | number]>([
  ['an id beyond the vocabulary', { ids: Uint32Array.of(3, 10) }, 10],
  ['an id twice', { ids: Uint32Array.of(3, 3) }, 'an id twice'],
  ['more than all mass', { logProbs: Float32Array.of(0, -0.1) }, 'a sum of'],
  ['a positive logarithm', { logProbs: Float32Array.of(1, -9) }, 'a sum of'],
  ['NaN', { logProbs: Float32Array.of(Number.NaN, -9) }, 'a sum of'],
  ['offsets beyond the entries', { offsets: Uint32Array.of(0, 9) }, '2 ids'],
])('refuses %s', async (_, change, found) => {
  const kind = 'sparse' as const;
  const whole = {
    ...{ offsets: Uint32Array.of(0, 2), ids: Uint32Array.of(3, 4) },
    logProbs: Float32Array.of(-1, -2),
  };
  const source = {
    vocabulary: 10,
    async *sequences() {
      yield { name: 'dump', first: 0, rows: 1, labels: { ...whole, ...change, kind } };
    },
  };
  const codec = { name: 'topk', k: 2 } as const;
  await expect(packTokens({ source, out: newFolder(), codec })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    found: typeof found === 'number' ? found : expect.stringContaining(found),
  });
});

it('keeps the most probable entries of labels in any order', async () => {
  const labels = {
    kind: 'sparse' as const,
    ...{ offsets: Uint32Array.of(0, 3), ids: Uint32Array.of(5, 6, 7) },
    logProbs: Float32Array.of(-3, -2, -0.5),
  };
  const source = {
    vocabulary: 10,
    async *sequences() {
      yield { name: 'dump', first: 0, rows: 1, labels };
    },
  };
  const out = newFolder();
  await packTokens({ source, out, codec: { name: 'topk', k: 2 } });
  await using archive = await openTokenArchive(out);
  expect(Array.from((await archive.labels(0)).ids)).toEqual([7, 6]);
});

it('a vocabulary that is smaller than the head', async () => {
  const own = testTeacher({ vocabulary: 5, lengths: [30] });
  const { out } = await packed('head-tail', own.source);
  await using archive = await openTokenArchive(out);
  const { probabilities, width, ids } = await archive.labels(0);
  for (let t = 0; t < 30; t++) {
    const p = distribution(own.logits[0].subarray(5 * t, 5 * t + 5));
    const [top] = ranked(p);
    expect(ids[t * width]).toBe(top);
    expect(Math.abs(probabilities[t * width] - p[top])).toBeLessThan(0.2);
  }
});

it('learns from labels wherever they are', async () => {
  const own = testTeacher({ vocabulary: 3, lengths: [0, 40_000] });
  const out = newFolder();
  const codec = { name: 'tiny', k: 2, ordered: 2, samples: 1 } as const;
  await packTokens({ source: own.source, out, codec });
  await using archive = await openTokenArchive(out);
  expect((await archive.labels(1, { start: 39_999 })).positions).toBe(1);
});

it('inspect counts labels and tokens, not sequences', async () => {
  const { out } = await packed('tiny');
  const labels = LENGTHS.reduce((a, b) => a + b, 0);
  const text = await softpack(['inspect', out]);
  expect(text.out).toContain(`${labels} of ${LENGTHS.length} texts, ${labels} tokens`);
  const facts = JSON.parse((await softpack(['inspect', out, '--json'])).out);
  expect(facts.ratio.total).toBeCloseTo((2 * VOCABULARY * labels) / facts.bytes.total, 9);
});

it('an interrupted pack goes on to the same bytes', async () => {
  const { out } = await packed('sampled');
  const other = newFolder();
  for (const stopAfter of [2, 4]) {
    const controller = new AbortController();
    const onProgress = (done: number) => {
      if (done >= stopAfter) controller.abort();
    };
    const { signal } = controller;
    const options = { source: teacher.source, out: other, onProgress, signal };
    await expect(packTokens(options)).rejects.toMatchObject({ code: 'ABORTED' });
  }
  await packTokens({ source: teacher.source, out: other });
  for (const name of await readdir(out)) {
    expect((await readFile(join(other, name))).equals(await readFile(join(out, name)))).toBe(true);
  }
});

it('a flipped bit is found and named, and hostile codes are typed errors', async () => {
  const { out } = await packed('topk');
  const damaged = newFolder();
  await cp(out, damaged, { recursive: true });
  const shard = join(damaged, 'codes-00000.safetensors');
  const bytes = await readFile(shard);
  const at = bytes.length >> 1;
  bytes[at] ^= 4;
  await writeFile(shard, bytes);
  const { damage } = await verifyArchive(damaged);
  expect(damage).toHaveLength(1);
  expect(damage[0].file).toBe('codes-00000.safetensors');
  await using archive = await openTokenArchive(damaged);
  await expect(archive.labels(5)).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
});

it('bytes that are no sequence end in typed errors', async () => {
  const { locateLabels, readHead } = await import('#src/tokens/sequence-block.js');
  const { TokenCodec } = await import('#src/tokens/token-codec.js');
  const { loadKernels } = await import('#src/kernels/load.js');
  const { openArchive } = await import('#src/pipeline/open-archive.js');
  const { out } = await packed('head-tail');
  await using archive = await openArchive(out);
  const codec = TokenCodec.fromParts(archive.codecParts, loadKernels());
  const [ids, probabilities] = [new Int32Array(codec.width), new Float32Array(codec.width)];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        const head = readHead(bytes, codec.textFormat);
        const row = Math.max(head.rows - 1, 0);
        codec.decode(bytes, locateLabels(bytes, head, row, 1), { ids, probabilities });
        for (const p of probabilities) expect(p).toBeGreaterThanOrEqual(0);
        expect(probabilities.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(1);
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codes' });
      }
    }),
  );
});

it('asks a teacher of 151,936 ids for a few labels at a time, however long the text', async () => {
  const [vocabulary, rows] = [151_936, 30];
  const asked: number[] = [];
  const top = (row: number) => Math.imul(row, 7919) % vocabulary;
  const read = async (start: number, count: number) => {
    asked.push(count);
    const out = new Float32Array(count * vocabulary);
    for (let i = 0; i < count; i++) out[i * vocabulary + top(start + i)] = 20;
    return out;
  };
  const source = {
    vocabulary,
    async *sequences() {
      const labels = { kind: 'logits', width: vocabulary, read } as const;
      yield { name: 'long', first: 0, rows, labels };
    },
  };
  const out = newFolder();
  await packTokens({ source, out, codec: { name: 'tiny' } });
  // Each label once, never more than 16 MiB of them.
  expect(asked.reduce((sum, count) => sum + count, 0)).toBe(rows);
  expect(Math.max(...asked) * vocabulary).toBeLessThanOrEqual(2 ** 22);
  await using archive = await openTokenArchive(out);
  const { ids, probabilities, width } = await archive.labels(0);
  for (let t = 0; t < rows; t++) {
    const at = ids.subarray(t * width, (t + 1) * width).indexOf(top(t));
    expect(at).toBeGreaterThanOrEqual(0);
    expect(probabilities[t * width + at]).toBeGreaterThan(0.99);
  }
});

it.each<[string, number, number, (id: number) => number]>([
  ['one id', 1, 1, () => 0],
  ['two ids', 2, 2, (id) => id],
  ['columns that only pad', 300, 384, (id) => (id < 300 ? Math.sin(id) : Number.NaN)],
  ['logits as far apart as floats are', 64, 64, (id) => (id % 2 === 0 ? -3e38 : 3e38)],
])('%s, and texts of no and of one token', async (_, vocabulary, width, logit) => {
  const read = async (_: number, count: number) =>
    Float32Array.from({ length: count * width }, (_, i) => logit(i % width));
  const source = {
    vocabulary,
    async *sequences() {
      for (const rows of [0, 1]) {
        const labels = { kind: 'logits', width, read } as const;
        yield { name: `${rows}`, tokens: new Int32Array(rows), first: 0, rows, labels };
      }
    },
  };
  for (const name of ['head-tail', 'topk'] as const) {
    const { out } = await packed(name, source);
    await using archive = await openTokenArchive(out);
    const { ids, probabilities } = await archive.labels(1);
    const p = distribution(Array.from({ length: vocabulary }, (_, id) => logit(id)));
    const [top] = ranked(p);
    expect([ids[0], archive.sequences]).toEqual([top, 2]);
    expect(Math.abs(probabilities[0] - p[top])).toBeLessThan(0.01);
    expect(probabilities.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(1);
  }
});
