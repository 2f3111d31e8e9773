import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import { joinBlocks, splitBlocks } from '#src/core/blocks.js';
import { CounterRng, STREAM } from '#src/core/philox.js';
import { loadKernels } from '#src/kernels/load.js';
import type { TokenPreset } from '#src/tokens/config.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { readHead } from '#src/tokens/sequence-block.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { TOKEN_DECODING, TokenCodec } from '#src/tokens/token-codec.js';
import { temporaryDirectory } from '../temporary.js';
import { testTeacher } from '../tokens/sources.js';
import { floatsOf, hasModule, python, runJobs } from './python.js';

const missing = !hasModule('numpy');
const reason = `${python} has no numpy; name a Python that has by SOFTPACK_PYTHON`;
beforeEach((context) => context.skip(missing, reason));
const temporary = await temporaryDirectory();

const VOCABULARY = 397;
const LENGTHS = [1, 0, 64, 65, 130];
/** Sequence, start and count: whole ones, and from within the first, second and third group on. */
const RANGES = [
  ...LENGTHS.map((length, s) => [s, 0, length] as const),
  ...([
    [2, 63, 1],
    [3, 64, 1],
    [4, 61, 7],
    [4, 129, 1],
    [4, 130, 0],
  ] as const),
];

const PRESETS: readonly TokenPreset[] = ['head-tail', 'tiny', 'topk', 'topk-vq', 'sampled'];

async function pack(name: TokenPreset, options: { masked?: boolean; text?: boolean } = {}) {
  const out = temporary.path(`${name}-${JSON.stringify(options).length}`);
  const { source } = testTeacher({ vocabulary: VOCABULARY, lengths: LENGTHS, ...options });
  await packTokens({ source, out, codec: { name } });
  return out;
}

async function expectEqual(out: string): Promise<void> {
  const [found] = runJobs([{ kind: 'tokens', archive: out, ranges: RANGES }]);
  expect(found).toMatchObject({ vocabulary: VOCABULARY, sequences: LENGTHS.length });
  const read = found.read as readonly Record<string, unknown>[];
  expect(read).toHaveLength(RANGES.length);
  await using archive = await openTokenArchive(out);
  for (const [i, [sequence, start, count]] of RANGES.entries()) {
    const text = await archive.text(sequence);
    const labels = await archive.labels(sequence, { start, count });
    expect(read[i]).toMatchObject({
      tokens: text.tokens === undefined ? null : Array.from(text.tokens),
      ...{ textFirst: text.first, labels: text.labels, first: labels.first },
      ...{ tail: labels.tail.kind, shape: [count, archive.width] },
      ids: Array.from(labels.ids),
      next: Array.from(labels.next),
      counts: Array.from(labels.counts),
    });
    const own = floatsOf(read[i].probabilities);
    expect(own).toHaveLength(labels.probabilities.length);
    const worst = own.reduce((w, p, j) => Math.max(w, Math.abs(p - labels.probabilities[j])), 0);
    expect(worst).toBeLessThanOrEqual(1e-6);
  }
}

test.each(PRESETS)('%s: texts and labels are those of softpack', async (name) => {
  await expectEqual(await pack(name));
});

test('the prior of a tail', async () => {
  const out = temporary.path('prior');
  const { source } = testTeacher({ vocabulary: VOCABULARY, lengths: LENGTHS });
  await packTokens({ source, out, codec: { name: 'topk', tail: 'prior' } });
  await expectEqual(out);
  const [found] = runJobs([{ kind: 'tokens', archive: out, ranges: [] }]);
  await using archive = await openTokenArchive(out);
  const { tail } = await archive.labels(0);
  if (tail.kind !== 'prior') throw new Error(tail.kind);
  const own = floatsOf(found.prior);
  for (const [i, p] of tail.prior.entries()) expect(own[i]).toBeCloseTo(p, 8);
});

test('masks, and labels without their texts', async () => {
  await expectEqual(await pack('topk', { masked: true, text: false }));
});

test('ranges outside of a sequence, other archives and damage are refused', async () => {
  const out = await pack('tiny', { masked: true });
  const damaged = temporary.path('damaged');
  await cp(out, damaged, { recursive: true });
  const shards = (await readdir(damaged)).filter((name) => name.startsWith('codes-'));
  expect(shards).toHaveLength(1);
  const shard = join(damaged, shards[0]);
  const bytes = await readFile(shard);
  bytes[Math.floor(bytes.length / 2)] ^= 1;
  await writeFile(shard, bytes);
  expect(
    runJobs([
      { kind: 'tokens', archive: out, ranges: [[5, 0, 0]] },
      { kind: 'tokens', archive: out, ranges: [[3, 66, 0]] },
      { kind: 'tokens', archive: out, ranges: [[3, 60, 6]] },
      { kind: 'tokens', archive: damaged, ranges: RANGES },
    ]),
  ).toMatchObject([
    { code: 'INVALID_ARGUMENT', field: 'sequence' },
    { code: 'INVALID_ARGUMENT', field: 'start' },
    { code: 'INVALID_ARGUMENT', field: 'count' },
    { code: 'CORRUPT_DATA' },
  ]);
});

/** Copies of an archive's last text, as many as there are changes; with sound checksums. */
async function withTexts(
  from: string,
  out: string,
  changes: readonly ((bytes: Uint8Array, textAt: number, end: number) => void)[],
): Promise<void> {
  await using archive = await openArchive(from);
  const { codecParts: codec, classes, samples } = archive;
  const { textFormat } = TokenCodec.fromParts(codec, loadKernels());
  const { row } = await archive.readCodes(0, { start: samples - 1, count: 1 });
  const [block] = splitBlocks(row);
  const { textAt, maskAt } = readHead(block, textFormat);
  const blocks = changes.map((change) => {
    const own = block.slice();
    change(own, Math.ceil(textAt / 8), Math.floor(maskAt / 8));
    return own;
  });
  await using writer = await createArchive(out, {
    ...{ classes, samples: blocks.length, epochs: 1, tau: 1, codec, decoding: TOKEN_DECODING },
    ...{ layout: { kind: 'blocks', labelsPerBlock: 1 }, augmentation: null },
  });
  await writer.writeRow(0, { codes: joinBlocks(blocks) });
  await writer.finish();
}

test('of a text with wrong codes both give the same ids or none', async () => {
  const from = temporary.path('sound');
  const [vocabulary, first, rows] = [97, 250, 20];
  const { texts: known, logits } = testTeacher({ vocabulary, lengths: [300] });
  const read = async (start: number, count: number) =>
    logits[0].slice(vocabulary * start, vocabulary * (start + count));
  const source = {
    vocabulary,
    async *sequences() {
      const labels = { kind: 'logits', width: vocabulary, read } as const;
      yield { name: 'text', tokens: known[0], first, rows, labels };
    },
  };
  await packTokens({ source, out: from, codec: { name: 'topk', k: 4 } });
  const rng = new CounterRng(5);
  const anywhere = Array.from({ length: 30 }, (_, i) => {
    const [at, bit] = rng.words(i, 0, STREAM.training, 0);
    return (bytes: Uint8Array, begin: number, end: number) => {
      bytes[begin + (at % (end - begin))] ^= 1 << (bit % 8);
    };
  });
  // Where groups end, which are two numbers from a bit within the byte before `begin` on.
  const ends = Array.from({ length: 12 }, (_, i) => (bytes: Uint8Array, begin: number) => {
    bytes.fill(i % 2 === 0 ? 0xff : 0, begin + i - 1, begin + 8);
  });
  const out = temporary.path('wrong-texts');
  await withTexts(from, out, [() => {}, ...anywhere, ...ends]);
  const range = { start: 8, count: 7 };
  const [found] = runJobs([{ kind: 'token-ids', archive: out, range: Object.values(range) }]);
  await using archive = await openTokenArchive(out);
  const idsOrCode = (read: Promise<ArrayLike<number> | undefined>) =>
    read.then(
      (ids) => Array.from(ids ?? []),
      (error) => error.code,
    );
  const [texts, next]: unknown[][] = [[], []];
  for (let s = 0; s < archive.sequences; s++) {
    next.push(await idsOrCode(archive.labels(s, range).then((own) => own.next)));
    texts.push(await idsOrCode(archive.text(s).then(({ tokens }) => tokens)));
  }
  expect(found).toEqual({ texts, next });
  for (const own of [texts, next]) {
    expect(own[0]).toBeInstanceOf(Array);
    expect(own).toContain('INVALID_FILE');
  }
});
