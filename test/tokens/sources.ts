import { CounterRng, STREAM, unit } from '#src/core/philox.js';
import type { DenseRows, TokenSequence, TokenSource } from '#src/tokens/token-source.js';

/** A teacher with a Zipf-like distribution of its own at every position. */
export interface TestTeacher {
  readonly source: TokenSource;
  /** Logits of a sequence, [rows, vocabulary]. */
  readonly logits: readonly Float32Array[];
  readonly texts: readonly Int32Array[];
}

export interface TeacherOptions {
  readonly vocabulary: number;
  /** Tokens of each text; all but the last position of each has a label, and the last one too if `last`. */
  readonly lengths: readonly number[];
  readonly kind?: 'logits' | 'sparse';
  /** Entries of sparse labels. */
  readonly entries?: number;
  readonly masked?: boolean;
  readonly text?: boolean;
}

export function testTeacher(options: TeacherOptions): TestTeacher {
  const { vocabulary, lengths } = options;
  const rng = new CounterRng(17);
  const random = (a: number, b: number) => unit(rng.words(a, b, STREAM.training, 0)[0]);
  const texts = lengths.map((length, s) =>
    Int32Array.from({ length }, (_, t) => Math.floor(random(s, t) ** 3 * vocabulary)),
  );
  const logits = lengths.map((rows, s) => {
    const out = new Float32Array(rows * vocabulary);
    for (let i = 0; i < out.length; i++) {
      const id = i % vocabulary;
      out[i] = 6 * random(1000 + s, i) - 1.1 * Math.log(1 + id);
    }
    return out;
  });
  return { source: sourceOf(options, texts, logits), logits, texts };
}

function sourceOf(
  { vocabulary, kind = 'logits', entries = 20, masked = false, text = true }: TeacherOptions,
  texts: readonly Int32Array[],
  logits: readonly Float32Array[],
): TokenSource {
  return {
    vocabulary,
    async *sequences() {
      for (const [s, own] of logits.entries()) {
        const rows = own.length / vocabulary;
        const labels: DenseRows = {
          kind: 'logits',
          width: vocabulary,
          read: async (start, count) => own.slice(start * vocabulary, (start + count) * vocabulary),
        };
        const sequence: TokenSequence = {
          name: `sequence ${s}`,
          ...(text ? { tokens: texts[s] } : {}),
          ...{ first: 0, rows },
          ...(masked ? { mask: Uint8Array.from({ length: rows }, (_, i) => i % 2) } : {}),
          labels: kind === 'logits' ? labels : sparseOf(own, vocabulary, entries),
        };
        yield sequence;
      }
    },
  };
}

function sparseOf(logits: Float32Array, vocabulary: number, entries: number) {
  const rows = logits.length / vocabulary;
  const ids = new Uint32Array(rows * entries);
  const logProbs = new Float32Array(rows * entries);
  for (let row = 0; row < rows; row++) {
    const p = distribution(logits.subarray(row * vocabulary, (row + 1) * vocabulary));
    for (const [i, id] of ranked(p).slice(0, entries).entries()) {
      ids[row * entries + i] = id;
      logProbs[row * entries + i] = Math.log(p[id]);
    }
  }
  const offsets = Uint32Array.from({ length: rows + 1 }, (_, row) => row * entries);
  return { kind: 'sparse', offsets, ids, logProbs } as const;
}

/** Softmax in float64. */
export function distribution(logits: ArrayLike<number>): number[] {
  const values = Array.from(logits);
  const top = Math.max(...values);
  const exponentials = values.map((v) => Math.exp(v - top));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((v) => v / sum);
}

/** Ids from the most probable on. */
export function ranked(p: readonly number[]): number[] {
  return p.map((_, id) => id).sort((a, b) => p[b] - p[a] || a - b);
}
