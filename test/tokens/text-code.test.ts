import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BitWriter } from '#src/core/bit-stream.js';
import { Renaming } from '#src/tokens/renaming.js';
import { readHead, type SequenceText, writeHead } from '#src/tokens/sequence-block.js';
import { readText } from '#src/tokens/sequence-text.js';
import { areTextLengths, type LabelIds, TextCounts } from '#src/tokens/text-code.js';

const VOCABULARY = 1000;

/** A text of which some ids are those that labels of `width` entries list. */
function madeText(length: number, first: number, width: number, seed: number) {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state / 2 ** 31;
  };
  const id = () => Math.floor(random() ** 4 * VOCABULARY);
  const tokens = Int32Array.from({ length }, id);
  const rows = length - first;
  const ids = Int32Array.from({ length: rows * width }, id);
  for (let row = 0; row + 1 < rows; row++) {
    const rank = Math.floor(random() * 2 * width);
    if (rank < width) ids[row * width + rank] = tokens[first + row + 1];
  }
  return { tokens, labels: { first, rows, width, ids } };
}

function codeOf(tokens: Int32Array, labels: LabelIds, k: number) {
  const counts = new TextCounts(VOCABULARY, Math.min(k, 32));
  counts.add(tokens, labels);
  const frequency = new Float64Array(VOCABULARY);
  for (const id of tokens) frequency[id]++;
  return counts.code(Renaming.byFrequency(frequency), k);
}

function written(text: SequenceText, labels: LabelIds, code?: ReturnType<typeof codeOf>) {
  const format = { vocabulary: VOCABULARY, ...(code === undefined ? {} : { code }) };
  const writer = new BitWriter();
  writeHead(writer, text, labels.rows, format, labels);
  return { bytes: writer.bytes(), format };
}

it('any part of a text is read, with the labels that tell of it and no others', () => {
  const shape = {
    length: fc.integer({ min: 1, max: 900 }),
    unlabelled: fc.double({ min: 0, max: 1, noNaN: true }),
    width: fc.integer({ min: 1, max: 40 }),
    seed: fc.integer({ min: 1, max: 10_000 }),
    range: fc.tuple(
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ max: 1, min: 0, noNaN: true }),
    ),
  };
  fc.assert(
    fc.property(fc.record(shape), ({ length, unlabelled, width, seed, range }) => {
      const first = Math.floor(unlabelled * length);
      const { tokens, labels } = madeText(length, first, width, seed);
      const { bytes, format } = written({ tokens, first }, labels, codeOf(tokens, labels, width));
      const head = readHead(bytes, format);
      const [start, end] = range.map((at) => Math.round(at * length)).sort((a, b) => a - b);
      const asked: number[] = [];
      const labelsOf = (from: number, rows: number): LabelIds => {
        asked.push(rows);
        const ids = labels.ids.subarray(from * width, (from + rows) * width);
        return { first: first + from, rows, width, ids };
      };
      const found = readText(bytes, head, format, { start, count: end - start }, labelsOf);
      expect(found).toEqual(tokens.slice(start, end));
      // Those of its groups.
      expect(Math.max(...asked)).toBeLessThanOrEqual(end - start + 256);
    }),
    { numRuns: 60 },
  );
});

it('takes about the entropy of ids, and less where labels list them', () => {
  const { tokens, labels } = madeText(20_000, 0, 8, 3);
  const bits = (own: LabelIds) => {
    const { bytes } = written({ tokens, first: 0 }, own, codeOf(tokens, own, 8));
    return (8 * bytes.length) / tokens.length;
  };
  const counts = new Float64Array(VOCABULARY);
  for (const id of tokens) counts[id]++;
  const entropy = counts.reduce((sum, n) => {
    const p = n / tokens.length;
    return n === 0 ? sum : sum - p * Math.log2(p);
  }, 0);
  const none = { ...labels, rows: 0, ids: new Int32Array() };
  const alone = bits(none);
  expect(alone).toBeGreaterThan(entropy);
  expect(alone).toBeLessThan(entropy + 0.5);
  // Half of the ids are in a label, at one of 8 places: 4 bits and the rest's own.
  expect(bits(labels)).toBeLessThan(0.5 * 4.3 + 0.5 * (alone + 1.3));
});

it('codes that do not end where they should are typed errors', () => {
  const { tokens, labels } = madeText(700, 5, 4, 9);
  const { bytes, format } = written({ tokens, first: 5 }, labels, codeOf(tokens, labels, 4));
  const read = (own: Uint8Array, from = 0) => {
    const head = readHead(own, format);
    const start = Math.min(from, head.length ?? 0);
    const count = (head.length ?? 0) - start;
    return readText(own, head, format, { start, count }, () => labels);
  };
  const place = fc.nat(bytes.length - 1);
  fc.assert(
    fc.property(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, change, cut) => {
      const own = bytes.slice(0, cut ? at : bytes.length);
      if (!cut) own[at] ^= change;
      try {
        read(own, cut ? 0 : at);
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'codes' });
      }
    }),
  );
  // Ends of the first and second of three groups, far behind the text and one behind the other.
  const far = bytes.slice();
  far.fill(0xff, 6, 13);
  far[8] = 0;
  expect(() =>
    readText(far, readHead(far, format), format, { start: 300, count: 9 }, () => labels),
  ).toThrow(/not a sequence/);
  for (const cut of [2, 8, 20, bytes.length - 30]) {
    expect(() => read(bytes.slice(0, cut))).toThrow(/codes|not a sequence/);
  }
});

it('refuses codes by labels for ids that have none', () => {
  expect(areTextLengths(Uint8Array.of(1, 1, 0, 1), 1)).toBe(true);
  expect(areTextLengths(Uint8Array.of(1, 1, 1, 1), 1)).toBe(false);
  expect(areTextLengths(Uint8Array.of(1, 1, 1, 0, 1, 1), 1)).toBe(false);
});
