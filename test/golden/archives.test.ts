import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import {
  loadCodec,
  loadKernels,
  openArchive,
  openHiddenArchive,
  openTokenArchive,
} from '#src/index.js';

/** Archives that softpack 0.1.0 wrote, in format 1: any version must be able to decode them. */
const ARCHIVES = new URL('./archives/', import.meta.url);

it.each(['vqae', 'topk', 'pca', 'mean', 'pruned'])(
  'reads and verifies what 0.1.0 wrote: %s',
  async (name) => {
    const expected = JSON.parse(await readFile(new URL('expected.json', ARCHIVES), 'utf8'))[name];
    await using archive = await openArchive(fileURLToPath(new URL(name, ARCHIVES)));
    await archive.verify();
    expect(archive.manifest.archiveId).toBe(expected.archiveId);
    using codec = loadCodec(archive.codecParts, loadKernels());
    const labels = { start: 0, count: archive.samples };
    const hash = createHash('sha256');
    for (let epoch = 0; epoch < archive.epochs; epoch++) {
      const out = new Float32Array(archive.samples * archive.classes);
      const row = await archive.readRow(epoch);
      codec.decode({ row, labels, context: { epoch, samples: labels }, out, threads: 1 });
      hash.update(new Uint8Array(out.buffer));
    }
    expect(hash.digest('hex')).toBe(expected.labels);
  },
);

// The second has the first one's labels, with base vectors in files of their own.
it.each([
  ['transform', 'transform'],
  ['transform-blocks', 'transform'],
  ['transform-likeness', 'transform-likeness'],
  ['predictive', 'predictive'],
])('reads labels of mixed views, which a codec predicts: %s', async (name, same) => {
  const { archiveId, labels } = JSON.parse(
    await readFile(new URL(`${same}-labels.json`, ARCHIVES), 'utf8'),
  );
  await using archive = await openArchive(fileURLToPath(new URL(name, ARCHIVES)));
  await archive.verify();
  if (name === same) expect(archive.manifest.archiveId).toBe(archiveId);
  expect(archive.codecParts.config).toMatchObject({ views: true, bases: archive.samples });
  for (let epoch = 0; epoch < archive.epochs; epoch++) {
    const found = await archive.labels(epoch, { start: 0, count: archive.samples });
    expect(labels[epoch]).toHaveLength(found.length);
    for (const [i, value] of found.entries()) expect(value).toBeCloseTo(labels[epoch][i], 5.5);
  }
});

it.each([
  ['hidden', 'hidden-states'],
  ['hidden-exact', 'hidden-exact'],
])('reads hidden states of language models: %s', async (name, file) => {
  const folder = new URL('./tokens/', import.meta.url);
  const expected = JSON.parse(await readFile(new URL(`${file}.json`, folder), 'utf8'));
  await using archive = await openHiddenArchive(fileURLToPath(new URL(name, folder)));
  expect(archive.head().weights.map((value) => value + 0)).toEqual(
    Float32Array.from(expected.head),
  );
  for (const [s, { tokens, hidden, last, ...logits }] of expected.sequences.entries()) {
    expect(Array.from((await archive.text(s)).tokens ?? [])).toEqual(tokens);
    const { hidden: found, exact } = await archive.labels(s);
    const near = (values: Float32Array, wanted: readonly number[]) => {
      expect(values).toHaveLength(wanted.length);
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(wanted[i], 5);
    };
    near(found.slice(0, hidden.length), hidden);
    near(found.slice(found.length - last.length), last);
    expect(exact === undefined).toBe(logits.ids === undefined);
    if (exact === undefined) continue;
    const { ids, corrections } = exact;
    expect(Array.from(ids.slice(0, logits.ids.length))).toEqual(logits.ids);
    near(corrections.slice(0, logits.corrections.length), logits.corrections);
    const end = ids.length - logits.lastIds.length;
    expect(Array.from(ids.slice(end))).toEqual(logits.lastIds);
    near(corrections.slice(end), logits.lastCorrections);
  }
});

it.each(['listed-fixed-text', 'listed-coded-text'])('reads %s of language models', async (name) => {
  const folder = new URL('./tokens/', import.meta.url);
  const expected = JSON.parse(await readFile(new URL('listed.json', folder), 'utf8'));
  await using archive = await openTokenArchive(fileURLToPath(new URL(name, folder)));
  expect(archive.sequences).toBe(expected.sequences.length);
  for (const [s, wanted] of expected.sequences.entries()) {
    const { tokens, first } = await archive.text(s);
    expect(tokens === undefined ? null : Array.from(tokens)).toEqual(wanted.tokens);
    const { ids, probabilities, counts, next } = await archive.labels(s);
    expect([first, counts.reduce((a, b) => a + b, 0)]).toEqual([wanted.first, wanted.counts]);
    const begin = wanted.ids.length;
    expect(Array.from(ids.slice(0, begin))).toEqual(wanted.ids);
    expect(Array.from(ids.slice(-wanted.last.length || ids.length))).toEqual(wanted.last);
    for (const [i, p] of wanted.probabilities.entries()) expect(probabilities[i]).toBeCloseTo(p, 6);
    for (const [i, id] of next.entries()) expect(id).toBe(tokens?.[first + i + 1] ?? -1);
  }
});
