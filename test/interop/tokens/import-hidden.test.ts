import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { importTokens } from '#src/interop/import-tokens.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { softpack } from '../../cli/softpack.js';
import { temporaryDirectory } from '../../temporary.js';
import {
  hiddenDistribution,
  hiddenTeacher,
  klOf,
  labelDistribution,
} from '../../tokens/hidden-sources.js';
import { bfloats, bytesOf, safetensors } from './fixture.js';

const temporary = await temporaryDirectory();
const [VOCABULARY, WIDTH, LENGTHS] = [40, 6, [20, 33, 9]];
const teacher = hiddenTeacher(VOCABULARY, WIDTH, LENGTHS);

/** Two rows more than there are ids, as heads are padded. */
const padded = new Float32Array((VOCABULARY + 2) * WIDTH).fill(9);
padded.set(teacher.head.weights);
const weights = Float32Array.from({ length: WIDTH }, (_, i) => 1 + i / 8);
const model = await temporary.file(
  'model.safetensors',
  safetensors([
    ['lm_head.weight', 'F32', [VOCABULARY + 2, WIDTH], bytesOf(padded)],
    ['model.norm.weight', 'F32', [WIDTH], bytesOf(weights)],
  ]),
);
const HEAD = ['--head', model, '--head-tensor', 'lm_head.weight', '--vocabulary', '40'];
const NORM = ['--norm', model, '--norm-tensor', 'model.norm.weight', '--norm-eps', '0.01'];

function npy(values: Float32Array | Int32Array, shape: readonly number[]): Buffer {
  const descr = values instanceof Float32Array ? '<f4' : '<i4';
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`;
  return Buffer.concat([
    Buffer.from(`\x93NUMPY\x01\x00v\x00${header.padEnd(117)}\n`, 'latin1'),
    bytesOf(values),
  ]);
}

async function meanKl(out: string, exact: readonly Float32Array[]): Promise<number> {
  await using archive = await openHiddenArchive(out);
  let [sum, count] = [0, 0];
  for (const [s, states] of exact.entries()) {
    const labels = await archive.labels(s);
    expect(labels.hidden).toHaveLength(states.length);
    for (let t = 0; t < states.length / WIDTH; t++, count++) {
      const p = hiddenDistribution(teacher.head, states.subarray(t * WIDTH, (t + 1) * WIDTH));
      sum += klOf(p, labelDistribution(teacher.head, labels, t));
    }
  }
  return sum / count;
}

test.each([
  [[], 10],
  [['--exact', '0'], undefined],
  [['--exact', '3'], 3],
])(
  'own arrays become an archive of hidden states, whose padding is cut: %j',
  async (exact, width) => {
    const all = Float32Array.from(teacher.states.flatMap((own) => [...own]));
    const total = all.length / WIDTH;
    const ids = Int32Array.from(teacher.texts.flatMap((own) => [...own]));
    const source = await temporary.file('hidden.npy', npy(all, [total, WIDTH]));
    const tokens = await temporary.file('ids.npy', npy(ids, [total]));
    const lengths = await temporary.file('lengths.npy', npy(Int32Array.from(LENGTHS), [3]));
    const out = temporary.path(`own-${width}`);
    const texts = ['--tokens', tokens, '--lengths', lengths, '--from', 'hidden'];
    const flags = [...texts, ...HEAD, '--kl', '0.02', ...exact, '--store-head', '-o', out];
    const imported = await softpack(['tokens', 'import', source, ...flags]);
    expect(imported.out.split('\n')).toEqual([
      'layout: hidden',
      `62 labels of 3 texts (62 tokens) in ${out}, codec hidden`,
      '',
    ]);
    const kl = await meanKl(out, teacher.states);
    expect(kl).toBeGreaterThan(0.008);
    expect(kl).toBeLessThan(0.03);
    await using archive = await openHiddenArchive(out);
    expect((await archive.text(1)).tokens).toEqual(teacher.texts[1]);
    expect(archive.head()).toEqual(teacher.head);
    expect((await archive.labels(1)).exact?.width).toBe(width);
  },
);

test("vLLM's states pass the last norm, which must be given", async () => {
  const folder = temporary.path('vllm');
  await mkdir(folder);
  const exact: Float32Array[] = [];
  for (const [s, states] of teacher.states.entries()) {
    const bytes = bfloats([...states]);
    // What bfloat16 holds, behind the norm, in float64.
    const halves = new Uint16Array(bytes.slice().buffer);
    const held = new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
    const behind = new Float32Array(states.length);
    for (let at = 0; at < states.length; at += WIDTH) {
      const own = held.subarray(at, at + WIDTH);
      const square = own.reduce((sum, value) => sum + value ** 2, 0) / WIDTH;
      for (let i = 0; i < WIDTH; i++) {
        behind[at + i] = (own[i] * weights[i]) / Math.sqrt(square + 0.01);
      }
    }
    exact.push(behind);
    const texts = BigInt64Array.from(teacher.texts[s], BigInt);
    const tensors: Parameters<typeof safetensors>[0] = [
      ['hidden_states', 'BF16', [LENGTHS[s], 1, WIDTH], bytes],
      ['token_ids', 'I64', [LENGTHS[s]], bytesOf(texts)],
    ];
    await writeFile(join(folder, `${s}.safetensors`), safetensors(tensors));
  }
  const out = temporary.path('from-vllm');
  const run = (...flags: string[]) =>
    softpack(['tokens', 'import', folder, ...HEAD, ...flags, '-o', out]);
  expect((await run()).err).toContain('norm');
  const imported = await run(...NORM, '--kl', '0.02');
  expect(imported.out).toContain('codec hidden');
  expect(await meanKl(out, exact)).toBeLessThan(0.03);
});

test.each(['head-tail', 'tiny', 'sampled', 'topk', 'topk-vq'] as const)(
  'labels of hidden states as %s are those of their logits',
  async (codec) => {
    const total = LENGTHS.reduce((sum, length) => sum + length, 0);
    const all = Float32Array.from(teacher.states.flatMap((own) => [...own]));
    const logits = new Float32Array(total * VOCABULARY);
    for (let t = 0; t < total; t++) {
      const state = all.subarray(t * WIDTH, (t + 1) * WIDTH);
      logits.set(hiddenDistribution(teacher.head, state).map(Math.log), t * VOCABULARY);
    }
    const ids = Int32Array.from(teacher.texts.flatMap((own) => [...own]));
    const texts = {
      tokens: await temporary.file('listed-ids.npy', npy(ids, [total])),
      lengths: await temporary.file('listed-lengths.npy', npy(Int32Array.from(LENGTHS), [3])),
    };
    const states = await temporary.file('listed-states.npy', npy(all, [total, WIDTH]));
    const dense = await temporary.file('listed-logits.npy', npy(logits, [total, VOCABULARY]));
    const [out, expected] = ['states', 'logits'].map((name) => temporary.path(`${codec}-${name}`));
    const shared = { ...texts, codec, seed: 3 };
    await importTokens({ ...shared, source: dense, from: 'logits', out: expected });
    const flags = ['--tokens', texts.tokens, '--lengths', texts.lengths, '--from', 'hidden'];
    const kind = ['--codec', codec, '--seed', '3'];
    const run = ['tokens', 'import', states, ...flags, ...HEAD, ...kind, '-o', out];
    expect((await softpack(run)).out).toContain(`codec ${codec}`);
    await using found = await openTokenArchive(out);
    await using known = await openTokenArchive(expected);
    for (const s of LENGTHS.keys()) {
      const [own, wanted] = [await found.labels(s), await known.labels(s)];
      expect(own.ids).toEqual(wanted.ids);
      const error = own.probabilities.map((p, i) => Math.abs(p - wanted.probabilities[i]));
      expect(Math.max(...error)).toBeLessThan(codec === 'topk' ? 1e-3 : 1e-5);
    }
  },
);

test('refusals say what is missing', async () => {
  const states = teacher.states[0];
  const source = await temporary.file('one.npy', npy(states, [LENGTHS[0], WIDTH]));
  const narrow = await temporary.file('narrow.npy', npy(padded, [42 * 2, 3]));
  const run = (options: object) =>
    importTokens({
      ...{ source, from: 'hidden', vocabulary: VOCABULARY, out: temporary.path('none') },
      ...options,
    });
  await expect(run({})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'head' });
  const few = await temporary.file('few.npy', npy(padded.slice(0, 60), [10, WIDTH]));
  for (const [head, field] of [
    [few, 'vocabulary'],
    [narrow, expect.stringContaining('one.npy')],
  ]) {
    await expect(run({ head })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
  await expect(run({ head: source, headTensor: 'x' })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  await expect(run({ head: model, headTensor: 'model.norm.weight' })).rejects.toMatchObject({
    code: 'INVALID_FILE',
  });
  const listed = { codec: 'head-tail', head: model, headTensor: 'lm_head.weight' };
  for (const [field, options] of [
    ['head', { ...listed, head: undefined }],
    ['kl', { ...listed, kl: 0.1 }],
    ['exact', { ...listed, exact: 4 }],
    ['storeHead', { ...listed, storeHead: true }],
    ['head', { ...listed, head: narrow, headTensor: undefined }],
  ] as const) {
    await expect(run(options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
  for (const [field, options] of [
    ['top', { head: model, top: 5 }],
    ['tail', { head: model, tail: 'ghost' }],
    ['kl', { from: 'logits', vocabulary: undefined, kl: 0.1 }],
    ['head', { from: 'logits', vocabulary: undefined, head: model }],
  ] as const) {
    await expect(run(options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field });
  }
  await expect(
    run({ from: 'logits', vocabulary: undefined, codec: 'hidden' }),
  ).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'codec' });
});
