import { describe, expect, it } from 'vitest';
import { softmaxRows } from '#src/labels/temperature.js';
import { reportPage } from '#src/report/page.js';
import { archiveReport, openReport } from '#src/report/report.js';
import { readVocabulary } from '#src/report/vocabulary.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { softpack } from '../cli/softpack.js';
import { temporaryDirectory } from '../temporary.js';
import { hiddenTeacher, labelDistribution } from '../tokens/hidden-sources.js';
import { ranked, testTeacher } from '../tokens/sources.js';

const directory = await temporaryDirectory();

describe('texts', () => {
  const teacher = testTeacher({ vocabulary: 60, lengths: [9, 4] });

  it('have what the teacher expects behind each token', async () => {
    const out = directory.path('texts');
    await packTokens({ source: teacher.source, out, codec: { name: 'topk' } });
    await using open = await openReport(out);
    const { texts, charts } = await archiveReport(open);
    expect(charts).toEqual([]);
    expect(texts.map(({ sequence }) => sequence)).toEqual([0, 1]);
    for (const { sequence, tokens, labels } of texts) {
      expect(tokens).toEqual([...teacher.texts[sequence]]);
      for (const [i, label] of labels.entries()) {
        const row = teacher.logits[sequence].slice(60 * i, 60 * (i + 1));
        softmaxRows(row, 1, 60, 1, row);
        const order = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 5);
        expect(label.map(({ id }) => id)).toEqual(order);
        for (const { id, p } of label) expect(Math.abs(p / row[id] - 1)).toBeLessThan(0.05);
      }
    }
  });

  it('of hidden states have the likeliest tokens of the output matrix, if it is stored', async () => {
    const { source, head } = hiddenTeacher(61, 10, [40, 1, 0]);
    for (const storeHead of [true, false]) {
      const out = directory.path(`hidden-${storeHead}`);
      await packHidden({ source, head, out, kl: 0.01, storeHead });
      await using open = await openReport(out);
      await using archive = await openHiddenArchive(out);
      const { texts, missing } = await archiveReport(open);
      expect(missing).toHaveLength(storeHead ? 0 : 1);
      expect(texts.map(({ labels }) => labels.length)).toEqual(storeHead ? [16, 1, 0] : [0, 0, 0]);
      for (const { sequence, labels } of texts) {
        const stored = await archive.labels(sequence);
        for (const [t, label] of labels.entries()) {
          const p = labelDistribution(head, stored, t);
          expect(label.map(({ id }) => id)).toEqual(ranked(p).slice(0, 5));
          for (const shown of label) expect(shown.p).toBeCloseTo(p[shown.id], 5);
        }
      }
    }
  });

  it('that a server is asked for have names, too', async () => {
    await using open = await openReport(directory.path('texts'));
    const names = new Map([
      [1, 'one'],
      [4096, 'in no text that the page begins with'],
    ]);
    const report = await archiveReport(open);
    for (const live of [false, true]) {
      const page = await reportPage(report, { live, vocabulary: names });
      expect(page.includes('in no text that the page begins with')).toBe(live);
    }
  });

  it('take no images and no full archive', async () => {
    const { code, err } = await softpack(['report', directory.path('texts'), '--full', 'full']);
    expect(code).toBe(2);
    expect(err).toContain('labels are of texts');
  });

  it.each([
    ['{"model": {"vocab": {"\u0120the": 2, "<b>": 0}}}', ' the'],
    ['{"a": 1, "\u0120the": 2}', ' the'],
    ['["a", "b", "\u2581the"]', ' the'],
    ['{"model": {"vocab": [["a", -1.5], ["b", 0], ["\u2581the", -2]]}}', ' the'],
  ])('are named by the vocabulary %s', async (json, text) => {
    const file = await directory.file('vocabulary.json', json);
    expect((await readVocabulary(file)).get(2)).toBe(text);
  });

  it.each(['3', '{"a": -1}', '[1, 2]', '{"a": "b"}'])('refuse %s as a vocabulary', async (json) => {
    const file = await directory.file('vocabulary.json', json);
    await expect(readVocabulary(file)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  });
});
