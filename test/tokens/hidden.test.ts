import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import type { CodecParts, Tensor } from '#src/core/codec-parts.js';
import { loadKernels } from '#src/kernels/load.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { decodeHiddenRows } from '#src/tokens/hidden/hidden-block.js';
import { HiddenCodec } from '#src/tokens/hidden/hidden-codec.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { readHead } from '#src/tokens/sequence-block.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { tokenWindows } from '#src/tokens/windows.js';
import { temporaryDirectory } from '../temporary.js';
import { hiddenDistribution, hiddenTeacher, klOf, labelDistribution } from './hidden-sources.js';

const temporary = await temporaryDirectory();
let folders = 0;
const newFolder = () => temporary.path(`hidden-${folders++}`);

const [VOCABULARY, WIDTH] = [61, 10];
/** A text of one token, an empty one, some around a group of 128 labels. */
const LENGTHS = [1, 0, 127, 128, 129, 300];
const teacher = hiddenTeacher(VOCABULARY, WIDTH, LENGTHS);
const { head, source } = teacher;

/** One archive that tests read. */
const packed = newFolder();
const result = await packHidden({ source, head, out: packed, kl: 0.01, exact: 0 });
/** The same with corrected logits. */
const EXACT = 5;
const corrected = newFolder();
await packHidden({ source, head, out: corrected, kl: 0.01, exact: EXACT });

it.each([
  ['alone', () => packed],
  ['with corrected logits', () => corrected],
])(
  'decodes to the divergence that is aimed at, by float64, and gives texts back: %s',
  async (_, folder) => {
    expect(result).toMatchObject({ sequences: LENGTHS.length, labels: 685, tokens: 685 });
    await using archive = await openHiddenArchive(folder());
    expect([archive.vocabulary, archive.width]).toEqual([VOCABULARY, WIDTH]);
    let sum = 0;
    for (const [s, length] of LENGTHS.entries()) {
      const tokens = teacher.texts[s];
      expect(await archive.text(s)).toEqual({ tokens, first: 0, labels: length });
      const labels = await archive.labels(s);
      const { hidden, next, counts } = labels;
      expect(hidden).toHaveLength(length * WIDTH);
      expect([...next]).toEqual(Array.from({ length }, (_, t) => tokens[t + 1] ?? -1));
      expect(counts.every((one) => one === 1)).toBe(true);
      for (let t = 0; t < length; t++) {
        const exact = teacher.states[s].subarray(t * WIDTH, (t + 1) * WIDTH);
        const p = hiddenDistribution(head, exact);
        sum += klOf(p, labelDistribution(head, labels, t));
      }
    }
    expect(sum / 685).toBeGreaterThan(0.006);
    expect(sum / 685).toBeLessThan(0.014);
  },
);

it('corrects the likeliest ids, each once, and leaves a distribution at every temperature', async () => {
  await using archive = await openHiddenArchive(corrected);
  const labels = await archive.labels(5);
  const { exact } = labels;
  if (exact === undefined) throw new Error('no corrections');
  expect([exact.width, exact.ids.length, exact.corrections.length]).toEqual([EXACT, 1500, 1500]);
  let [used, near] = [0, 0];
  for (let t = 0; t < 300; t++) {
    const own = hiddenDistribution(head, teacher.states[5].subarray(t * WIDTH, (t + 1) * WIDTH));
    const found = labelDistribution(head, labels, t);
    expect(found.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    const entries = Array.from({ length: EXACT }, (_, e) => t * EXACT + e);
    const ids = entries.filter((e) => exact.corrections[e] !== 0).map((e) => exact.ids[e]);
    expect(new Set(ids).size).toBe(ids.length);
    const least = own.toSorted((a, b) => b - a)[EXACT - 1];
    for (const id of ids) {
      expect(own[id]).toBeGreaterThanOrEqual(0.99 * least);
      used++;
      near += Math.abs(Math.log(found[id] / own[id])) < 0.25 ? 1 : 0;
    }
  }
  expect(used).toBeGreaterThan(300);
  expect(near / used).toBeGreaterThan(0.9);
});

it('is an archive that readers who do not know corrections refuse', async () => {
  const features = async (folder: string) => {
    await using archive = await openArchive(folder);
    return archive.manifest.features.required;
  };
  expect(await features(corrected)).toContain('exact-logits');
  expect(await features(packed)).not.toContain('exact-logits');
});

it.each([
  [3, undefined],
  [8, 2],
])('of %i ids no more than a quarter are corrected', async (vocabulary, width) => {
  const own = hiddenTeacher(vocabulary, 3, [40]);
  const out = newFolder();
  await packHidden({ source: own.source, head: own.head, out, kl: 0.05 });
  await using archive = await openHiddenArchive(out);
  expect((await archive.labels(0)).exact?.width).toBe(width);
});

it.each([0, 8])(
  'nearly certain labels, which bear small errors only, do not diverge far: %i corrected',
  async (exact) => {
    const own = hiddenTeacher(40, 12, [600]);
    const weights = own.head.weights.map((value) => 12 * value);
    const certain = { ...own.head, weights };
    const out = newFolder();
    await packHidden({ source: own.source, head: certain, out, kl: 0.02, exact });
    await using archive = await openHiddenArchive(out);
    const labels = await archive.labels(0);
    const distances = Array.from({ length: 600 }, (_, t) => {
      const p = hiddenDistribution(certain, own.states[0].subarray(t * 12, (t + 1) * 12));
      return klOf(p, labelDistribution(certain, labels, t));
    });
    expect(Math.max(...distances)).toBeLessThan(0.6);
  },
);

it.each([
  ['alone', () => packed],
  ['with corrected logits', () => corrected],
])('gives the same labels wherever reading starts: %s', async (_, folder) => {
  await using archive = await openHiddenArchive(folder());
  const all = await archive.labels(5);
  for (const [start, count] of [
    [0, 1],
    [127, 2],
    [128, 128],
    [299, 1],
    [50, 250],
    [300, 0],
  ]) {
    const some = await archive.labels(5, { start, count });
    expect(some.hidden).toEqual(all.hidden.slice(start * WIDTH, (start + count) * WIDTH));
    expect(some.next).toEqual(all.next.slice(start, start + count));
    const [a, b] = [start * EXACT, (start + count) * EXACT];
    expect(some.exact?.ids).toEqual(all.exact?.ids.slice(a, b));
    expect(some.exact?.corrections).toEqual(all.exact?.corrections.slice(a, b));
    expect([some.first, some.positions]).toEqual([start, count]);
  }
});

it('fewer bytes for a larger divergence, and far fewer than float16', async () => {
  const coarse = newFolder();
  await packHidden({ source, head, out: coarse, kl: 0.3, exact: 0 });
  const codes = async (folder: string) => {
    await using archive = await openArchive(folder);
    return archive.bytes().codes;
  };
  const [fine, few] = [await codes(packed), await codes(coarse)];
  expect(few).toBeLessThan(0.8 * fine);
  expect(fine).toBeLessThan(685 * 2 * WIDTH);
});

it.each([
  ['alone', 0, () => packed],
  ['with corrected logits', EXACT, () => corrected],
])('an interrupted pack goes on to the same bytes: %s', async (_, exact, folder) => {
  const again = folder();
  const other = newFolder();
  const controller = new AbortController();
  const onProgress = (done: number) => {
    if (done >= 3) controller.abort();
  };
  const options = { source, head, out: other, kl: 0.01, exact };
  await expect(
    packHidden({ ...options, onProgress, signal: controller.signal }),
  ).rejects.toMatchObject({ code: 'ABORTED' });
  await packHidden(options);
  for (const name of await readdir(again)) {
    expect((await readFile(join(again, name))).equals(await readFile(join(other, name)))).toBe(
      true,
    );
  }
});

it('the output matrix is the one that labels were made with, or is stored', async () => {
  await using archive = await openHiddenArchive(packed);
  expect(archive.head(head)).toBe(head);
  expect(() => archive.head()).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', field: 'head' }),
  );
  const changed = head.weights.slice();
  changed[7] += 1e-3;
  expect(() => archive.head({ ...head, weights: changed })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'head' }),
  );
  const out = newFolder();
  await packHidden({ source, head, out, kl: 0.1, storeHead: true });
  await using whole = await openHiddenArchive(out);
  expect(whole.head()).toEqual(head);
  // What float16 holds exactly takes half the bytes.
  const weights = head.weights.map((value) => Math.round(value * 64) / 64);
  const halves = newFolder();
  await packHidden({ source, head: { ...head, weights }, out: halves, kl: 0.1, storeHead: true });
  await using small = await openHiddenArchive(halves);
  expect(small.head().weights).toEqual(weights);
});

it('windows hold every hidden state once', async () => {
  await using archive = await openHiddenArchive(corrected);
  let at = 0;
  const texts = LENGTHS.flatMap((length, s) => Array.from({ length }, (_, t) => [s, t]));
  for await (const { targets, sequences } of tokenWindows(archive, { length: 100 })) {
    for (let i = 0; i < 100 && at < texts.length; i++, at++) {
      const [s, t] = texts[at];
      expect([sequences[i], targets.counts?.[i]]).toEqual([s, 1]);
      const { hidden, exact } = await archive.labels(s, { start: t, count: 1 });
      expect(targets.hidden.subarray(i * WIDTH, (i + 1) * WIDTH)).toEqual(hidden);
      const [a, b] = [i * EXACT, (i + 1) * EXACT];
      expect(targets.exact?.ids.subarray(a, b)).toEqual(exact?.ids);
      expect(targets.exact?.corrections.subarray(a, b)).toEqual(exact?.corrections);
    }
  }
  expect(at).toBe(texts.length);
});

describe('refuses', () => {
  const change = (labels: object) => ({
    vocabulary: VOCABULARY,
    async *sequences() {
      for await (const own of source.sequences()) {
        yield { ...own, labels: { ...own.labels, ...labels } } as never;
      }
    },
  });
  const nothing = async () => new Float32Array();
  it.each([
    ['logits', change({ kind: 'logits', width: VOCABULARY }), 'INVALID_ARGUMENT'],
    ['states of another width', change({ width: WIDTH + 1 }), 'INVALID_ARGUMENT'],
    [
      'a state that is no number',
      change({
        read: async (_: number, count: number) => new Float32Array(count * WIDTH).fill(Number.NaN),
      }),
      'NON_FINITE',
    ],
    ['no labels', { vocabulary: VOCABULARY, async *sequences() {} }, 'TOO_FEW_LABELS'],
    ['another vocabulary', { ...change({ read: nothing }), vocabulary: 60 }, 'INVALID_ARGUMENT'],
  ])('%s', async (_, own, code) => {
    const out = newFolder();
    await expect(packHidden({ source: own, head, out })).rejects.toMatchObject({ code });
  });

  it.each([
    ['a matrix of another size', { weights: head.weights.subarray(1) }, 'INVALID_ARGUMENT'],
    ['a matrix with infinity', { weights: head.weights.map(() => Infinity) }, 'NON_FINITE'],
  ])('%s', async (_, own, code) => {
    const out = newFolder();
    const options = { source, head: { ...head, ...own }, out };
    await expect(packHidden(options)).rejects.toMatchObject({ code });
  });

  it('archives of the other kinds of label', async () => {
    await expect(openTokenArchive(packed)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});

it('a flipped bit is found and named', async () => {
  const damaged = newFolder();
  await cp(packed, damaged, { recursive: true });
  const shard = join(damaged, 'codes-00000.safetensors');
  const bytes = await readFile(shard);
  bytes[Math.floor(0.7 * bytes.length)] ^= 4;
  await writeFile(shard, bytes);
  const { damage } = await verifyArchive(damaged);
  expect(damage.map(({ file }) => file)).toEqual(['codes-00000.safetensors']);
  await using archive = await openHiddenArchive(damaged);
  await expect(archive.labels(5)).rejects.toMatchObject({ code: 'CORRUPT_DATA' });
});

/** The archive's codec, its tensors and a block. */
async function storedParts(folder = packed) {
  await using archive = await openArchive(folder);
  const { row } = await archive.readCodes(0, { start: 5, count: 1 });
  return { parts: archive.codecParts, row: row.slice() };
}

it.each([
  ['alone', () => packed],
  ['with corrected logits', () => corrected],
])('bytes that are no sequence end in typed errors: %s', async (_, folder) => {
  const { parts, row } = await storedParts(folder());
  const codec = HiddenCodec.fromParts(parts, loadKernels());
  const { splitBlocks } = await import('#src/core/blocks.js');
  const [block] = splitBlocks(row);
  const read = (bytes: Uint8Array) => {
    try {
      const own = readHead(bytes, { vocabulary: VOCABULARY });
      const { hidden, exact } = decodeHiddenRows(bytes, own, 0, own.rows, codec);
      expect(hidden.every(Number.isFinite)).toBe(true);
      expect(exact?.ids.every((id) => id >= 0 && id < VOCABULARY) ?? true).toBe(true);
      expect(exact?.corrections.every(Number.isFinite) ?? true).toBe(true);
    } catch (error) {
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codes' });
    }
  };
  const place = fc.nat(block.length - 1);
  fc.assert(
    fc.property(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, change, cut) => {
      const bytes = block.slice(0, cut ? at : block.length);
      if (!cut) bytes[at] ^= change;
      read(bytes);
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), read));
});

it('hostile side data is refused by its name', async () => {
  const { parts } = await storedParts(corrected);
  const load = (changes: Partial<Record<string, Tensor>>, config: object = {}) => {
    const tensors = new Map(parts.tensors);
    for (const [name, tensor] of Object.entries(changes)) if (tensor) tensors.set(name, tensor);
    const own = { ...parts, tensors, config: { ...parts.config, ...config } } as CodecParts;
    return () => HiddenCodec.fromParts(own, loadKernels());
  };
  const of = (
    name: string,
    edit: (data: Uint8Array) => Uint8Array,
  ): Partial<Record<string, Tensor>> => {
    const tensor = parts.tensors.get(name) as Tensor;
    const data = edit(tensor.data.slice());
    return {
      [name]: {
        ...tensor,
        data,
        shape: tensor.dtype === 'U8' && name !== 'bins' ? [data.length] : tensor.shape,
      },
    };
  };
  const nan = (data: Uint8Array) => data.fill(255);
  for (const name of ['mean', 'basis', 'scales', 'bins', 'tables', 'ids', 'corrections']) {
    expect(load(of(name, nan)), name).toThrow(
      expect.objectContaining({ code: 'INVALID_FILE', field: `codec tensor ${name}` }),
    );
  }
  for (const name of ['tables', 'corrections']) {
    const short = load(of(name, (data) => data.subarray(0, data.length - 1)));
    expect(short).toThrow(expect.objectContaining({ code: 'INVALID_FILE' }));
    const long = load(of(name, (data) => Buffer.concat([data, data])));
    expect(long).toThrow(expect.objectContaining({ code: 'INVALID_FILE' }));
  }
  for (const config of [
    { rank: WIDTH + 1 },
    { rank: 2 ** 31 },
    { width: 2 ** 40 },
    { step: 0 },
    { states: 1 },
    { bins: 200 },
    { head: 'x' },
    { vocabulary: -1 },
    { exact: 0 },
    { exact: VOCABULARY },
    { exact: undefined },
    { exactStep: undefined },
    { exactStep: 0 },
    { exactStep: 1e9 },
  ]) {
    expect(load({}, config), JSON.stringify(config)).toThrow(
      expect.objectContaining({ code: 'INVALID_FILE' }),
    );
  }
});
