import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { splitBlocks } from '#src/core/blocks.js';
import { loadKernels } from '#src/kernels/load.js';
import { countTokens, encodeTokens, packTokens, tokenConfig } from '#src/tokens/pack-tokens.js';
import { RememberedSource } from '#src/tokens/remembered-source.js';
import type { TokenSequence, TokenSource } from '#src/tokens/token-source.js';
import { TRAINING_LABELS, trainTokenCodec } from '#src/tokens/train-tokens.js';
import { temporaryDirectory } from '../temporary.js';
import { testTeacher } from './sources.js';

const temporary = await temporaryDirectory();
let folders = 0;
const VOCABULARY = 61;

/** A source that counts its passes and how often each label is read, and uses its arrays again. */
function counting(source: TokenSource) {
  const seen = { passes: 0, reads: new Map<string, number>() };
  const own: TokenSource = {
    vocabulary: source.vocabulary,
    async *sequences(signal) {
      seen.passes++;
      for await (const sequence of source.sequences(signal)) {
        const lent = lend(sequence, seen.reads);
        yield lent;
        spoil(lent);
      }
    },
  };
  return { source: own, seen };
}

function lend(sequence: TokenSequence, reads: Map<string, number>): TokenSequence {
  const { labels, name } = sequence;
  const tokens = sequence.tokens?.slice();
  const text = tokens === undefined ? {} : { tokens };
  if (labels.kind === 'sparse') {
    const [offsets, ids, logProbs] = [labels.offsets, labels.ids, labels.logProbs];
    const copies = { offsets: offsets.slice(), ids: ids.slice(), logProbs: logProbs.slice() };
    return { ...sequence, ...text, labels: { kind: 'sparse', ...copies } };
  }
  const read = (start: number, count: number) => {
    for (let row = start; row < start + count; row++) {
      const key = `${name}, ${row}`;
      reads.set(key, (reads.get(key) ?? 0) + 1);
    }
    return labels.read(start, count);
  };
  return { ...sequence, ...text, labels: { ...labels, read } };
}

function spoil({ tokens, labels }: TokenSequence): void {
  tokens?.fill(-1);
  if (labels.kind !== 'sparse') return;
  labels.ids.fill(VOCABULARY);
  labels.logProbs.fill(Number.NaN);
}

/** Blocks of a source that is gone through three times. */
async function blocksByPasses(source: TokenSource, choice: Parameters<typeof tokenConfig>[0]) {
  const kernels = loadKernels();
  const counted = await countTokens(source);
  const config = tokenConfig(choice, VOCABULARY, 0);
  const { codec } = await trainTokenCodec(source, counted, config, kernels);
  const blocks: Uint8Array[] = [];
  for await (const own of source.sequences()) {
    blocks.push(await encodeTokens(own, blocks.length, codec, kernels));
  }
  return blocks;
}

async function storedBlocks(out: string, sequences: number) {
  await using archive = await openArchive(out);
  const blocks: Uint8Array[] = [];
  for (let start = 0; start < sequences; start++) {
    const { row } = await archive.readCodes(0, { start, count: 1 });
    blocks.push(splitBlocks(row)[0]);
  }
  return blocks;
}

it('goes through sparse labels once and dense ones twice, reads each once, and stores the same bytes', async () => {
  const lengths = fc
    .array(fc.integer({ min: 0, max: 70 }), { minLength: 1, maxLength: 5 })
    .filter((all) => all.some((length) => length > 0));
  const flags = { masked: fc.boolean(), text: fc.boolean() };
  const kind = fc.constantFrom('sparse' as const, 'logits' as const);
  const property = fc.asyncProperty(fc.record({ lengths, kind, ...flags }), async (options) => {
    const teacher = testTeacher({ vocabulary: VOCABULARY, entries: 9, ...options });
    const { source, seen } = counting(teacher.source);
    const out = temporary.path(`passes-${folders++}`);
    // Without codebooks, which take long to learn.
    const [sparse, dense] = [{ name: 'topk', k: 5 } as const, { name: 'sampled', k: 2 } as const];
    const codec = options.kind === 'sparse' ? sparse : dense;
    await packTokens({ source, out, codec });
    expect(seen.passes).toBe(options.kind === 'sparse' ? 1 : 2);
    const labels = options.lengths.reduce((sum, length) => sum + length, 0);
    expect(seen.reads.size).toBe(options.kind === 'sparse' ? 0 : labels);
    expect([...seen.reads.values()].every((times) => times === 1)).toBe(true);
    const expected = await blocksByPasses(teacher.source, codec);
    const found = await storedBlocks(out, options.lengths.length);
    expect(found.map((block) => Buffer.from(block))).toEqual(
      expected.map((block) => Buffer.from(block)),
    );
  });
  await fc.assert(property, { numRuns: 20 });
});

it('goes through more dense labels than a codec learns from three times, and asks for each once', async () => {
  const vocabulary = 2;
  const rows = TRAINING_LABELS / 8; // of each of nine texts
  const logits = Float32Array.from({ length: 2 * rows }, (_, i) => i % 7);
  const dense: TokenSource = {
    vocabulary,
    async *sequences() {
      for (let s = 0; s < 9; s++) {
        const read = async (from: number, count: number) =>
          logits.slice(2 * from, 2 * (from + count));
        const labels = { kind: 'logits' as const, width: vocabulary, read };
        yield { name: `text ${s}`, first: 0, rows, labels };
      }
    },
  };
  const { source, seen } = counting(dense);
  await packTokens({ source, out: temporary.path('many'), codec: { name: 'topk' } });
  expect(seen.passes).toBe(3);
  expect(seen.reads.size).toBe(9 * rows);
  expect([...seen.reads.values()].every((times) => times === 1)).toBe(true);
});

it('keeps no labels beyond its memory, and asks for them again', async () => {
  const lengths = [3, 4, 5];
  const teacher = testTeacher({ vocabulary: VOCABULARY, lengths, kind: 'sparse', entries: 2 });
  for (const [bytes, passes] of [
    [0, 2],
    [2 ** 12, 1],
  ]) {
    const { source, seen } = counting(teacher.source);
    const remembered = new RememberedSource(source, { dense: 0, bytes });
    expect(RememberedSource.of(remembered, { dense: 0 })).toBe(remembered);
    for (let pass = 0; pass < 2; pass++) {
      const found: number[] = [];
      for await (const { tokens } of remembered.sequences()) found.push(...(tokens ?? []));
      expect(found).toEqual(teacher.texts.flatMap((text) => [...text]));
    }
    expect(seen.passes).toBe(passes);
  }
});
