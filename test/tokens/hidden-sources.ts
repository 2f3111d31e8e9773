import { CounterRng, STREAM, unit } from '#src/core/philox.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { HiddenStates } from '#src/tokens/targets.js';
import type { TokenSource } from '#src/tokens/token-source.js';
import { distribution } from './sources.js';

export interface HiddenTeacher {
  readonly source: TokenSource;
  readonly head: OutputHead;
  /** [rows, width] of each sequence. */
  readonly states: readonly Float32Array[];
  readonly texts: readonly Int32Array[];
}

/** A teacher whose hidden states vary most in a few directions, some of which hardly matter to its head. */
export function hiddenTeacher(
  vocabulary: number,
  width: number,
  lengths: readonly number[],
): HiddenTeacher {
  const rng = new CounterRng(5);
  const random = (a: number, b: number) => {
    const words = rng.words(a, b, STREAM.training, 1);
    return Math.sqrt(-2 * Math.log(1 - unit(words[0]))) * Math.cos(2 * Math.PI * unit(words[1]));
  };
  const weights = Float32Array.from({ length: vocabulary * width }, (_, i) => {
    const j = i % width;
    return random(1, i) * (j === 0 ? 0.001 : 1 / (1 + j));
  });
  const mixing = Float32Array.from({ length: width * width }, (_, i) => random(2, i));
  const states = lengths.map((length, s) => {
    const out = new Float32Array(length * width);
    for (let t = 0; t < length; t++) {
      for (let k = 0; k < width; k++) {
        const factor = (3 * random(100 + s, t * width + k)) / (1 + k);
        for (let j = 0; j < width; j++) out[t * width + j] += factor * mixing[k * width + j];
      }
    }
    return out;
  });
  const texts = lengths.map((length) =>
    Int32Array.from({ length }, (_, t) => (t * 7) % vocabulary),
  );
  const source: TokenSource = {
    vocabulary,
    async *sequences() {
      for (const [s, own] of states.entries()) {
        const read = async (start: number, count: number) =>
          own.slice(start * width, (start + count) * width);
        const labels = { kind: 'hidden', width, read } as const;
        yield { name: `text ${s}`, tokens: texts[s], first: 0, rows: lengths[s], labels };
      }
    },
  };
  return { source, head: { vocabulary, width, weights }, states, texts };
}

/** The distribution of a hidden state, in float64. */
export function hiddenDistribution(head: OutputHead, state: ArrayLike<number>): number[] {
  return distribution(hiddenLogits(head, state));
}

/** The distribution of label `t` as an archive gives it, in float64. */
export function labelDistribution(
  head: OutputHead,
  { hidden, width, exact }: Pick<HiddenStates, 'hidden' | 'width' | 'exact'>,
  t: number,
): number[] {
  const logits = hiddenLogits(head, hidden.subarray(t * width, (t + 1) * width));
  const most = exact?.width ?? 0;
  for (let e = t * most; exact !== undefined && e < (t + 1) * most; e++) {
    logits[exact.ids[e]] += exact.corrections[e];
  }
  return distribution(logits);
}

function hiddenLogits(
  { vocabulary, width, weights }: OutputHead,
  state: ArrayLike<number>,
): number[] {
  return Array.from({ length: vocabulary }, (_, id) => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += weights[id * width + j] * state[j];
    return sum;
  });
}

export function klOf(p: readonly number[], q: readonly number[]): number {
  return p.reduce((sum, own, i) => sum + (own > 0 ? own * Math.log(own / q[i]) : 0), 0);
}
