import { expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { planTokens, type TokenPlanRequest } from '#src/planner/tokens.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { softpack } from '../cli/softpack.js';
import { temporaryDirectory } from '../temporary.js';
import { testTeacher } from '../tokens/sources.js';

const temporary = await temporaryDirectory();
const SMOL = { vocabulary: 49_152, tokens: 1_200_000, width: 576, teacherBytes: 98_000_000 };
const kind = (name: string, request: TokenPlanRequest = SMOL) => {
  const found = planTokens(request).kinds.find((own) => own.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

test('sizes of a model that was measured', () => {
  // Ids of 20 and 12 measured 168 and 109 bits, 8 samples 11.7 bytes; order of 8 of 12 ids: 12! / 4! values.
  expect(Math.abs(8 * kind('topk-vq').perToken.ids - 168)).toBeLessThan(5);
  expect(Math.abs(8 * kind('head-tail').perToken.ids - 109)).toBeLessThan(5);
  expect(Math.abs(kind('tiny').perToken.samples - 11.7)).toBeLessThan(0.3);
  // 7,102 labels of the teacher's own answers, all bytes but the texts' (2026-11-30).
  expect(Math.abs(kind('sampled').perToken.samples - 28.4)).toBeLessThan(0.5);
  // 70,813 labels of other draws (docs/results/tokens): 12 took 17.6 bytes less than 50, 64 took 5.1 more.
  const drawn = (draws: number) => kind('sampled', { ...SMOL, draws }).perToken.samples;
  expect(Math.abs(drawn(50) - drawn(12) - 17.6)).toBeLessThan(1);
  expect(Math.abs(drawn(64) - drawn(50) - 5.1)).toBeLessThan(1);
  for (const draws of [1, 2, 256]) expect(drawn(draws)).toBeGreaterThan(0);
  // One id of the renamed ones, and nothing to share.
  expect(8 * drawn(1)).toBeLessThan(Math.log2(SMOL.vocabulary));
  expect(kind('topk', { ...SMOL, draws: 9 })).toEqual(kind('topk'));
  expect(kind('tiny', { ...SMOL, draws: 8 })).toEqual(kind('tiny'));
  expect(8 * kind('head-tail').perToken.order).toBeCloseTo(Math.log2(479_001_600 / 24), 6);
  expect(kind('topk').perToken.values).toBe(40);
  expect(kind('tiny').perToken.total).toBeLessThan(30);
  // 212 bytes of states alone; 23 of the logits that are corrected beside others.
  const { values, ids } = kind('hidden').perToken;
  expect(values + ids).toBeGreaterThan(170);
  expect(values + ids).toBeLessThan(190);
  for (const { perToken, bytes, side } of planTokens(SMOL).kinds) {
    const { text, ids, order, values, samples, offsets, total } = perToken;
    expect(total).toBeCloseTo(text + ids + order + values + samples + offsets, 9);
    expect(bytes).toBe(Math.round(total * SMOL.tokens) + side);
  }
});

test('the teacher itself is smaller where labels are many', () => {
  expect(kind('tiny').teacherIsSmaller).toBe(false);
  expect(kind('hidden').teacherIsSmaller).toBe(true);
  expect(kind('tiny', { ...SMOL, tokens: 10_000_000 }).teacherIsSmaller).toBe(true);
});

test.each(['head-tail', 'topk', 'topk-vq', 'tiny', 'sampled'] as const)(
  'tables of %s are those of an archive',
  async (name) => {
    const own = testTeacher({ vocabulary: 397, lengths: [300] });
    const out = temporary.path(name);
    await packTokens({ source: own.source, out, codec: { name } });
    await using archive = await openArchive(out);
    const tensors = [...archive.codecParts.tensors.values()];
    const stored = tensors.reduce((sum, { data }) => sum + data.length, 0);
    expect(kind(name, { ...SMOL, vocabulary: 397 }).side).toBe(stored);
  },
);

test('the command prints every kind, and refuses nonsense', async () => {
  const flags = ['--vocabulary', '49152', '--tokens', '1200000'];
  const text = await softpack([
    'tokens',
    'plan',
    ...flags,
    '--width',
    '576',
    '--teacher-bytes',
    '98000000',
  ]);
  for (const word of ['head-tail', 'hidden', 'the teacher itself is smaller', '81.7 B per token']) {
    expect(text.out).toContain(word);
  }
  const json = JSON.parse((await softpack(['tokens', 'plan', ...flags, '--json'])).out);
  expect(json).toEqual(
    JSON.parse(JSON.stringify(planTokens({ vocabulary: 49_152, tokens: 1_200_000 }))),
  );
  const more = await softpack(['tokens', 'plan', ...flags, '--draws', '64', '--json']);
  expect(JSON.parse(more.out).kinds).toEqual(
    planTokens({ vocabulary: 49_152, tokens: 1_200_000, draws: 64 }).kinds,
  );
  expect(() => planTokens({ vocabulary: 1, tokens: 1 })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'vocabulary' }),
  );
});
