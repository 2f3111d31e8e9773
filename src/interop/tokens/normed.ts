import { SoftpackError } from '../../errors.js';
import type { TokenSequence, TokenSource } from '../../tokens/token-source.js';

/** The teacher's last norm: h / sqrt(mean h^2 + eps) * weights. */
export interface RmsNorm {
  readonly weights: Float32Array;
  readonly eps: number;
}

/** Hidden states behind the teacher's last norm, of those before it. */
export function normed(source: TokenSource, norm: RmsNorm): TokenSource {
  return {
    vocabulary: source.vocabulary,
    async *sequences(signal) {
      for await (const sequence of source.sequences(signal)) yield normedSequence(sequence, norm);
    },
  };
}

function normedSequence(sequence: TokenSequence, { weights, eps }: RmsNorm): TokenSequence {
  const { labels, name } = sequence;
  if (labels.kind !== 'hidden') return sequence;
  const { width } = labels;
  if (width !== weights.length) {
    throw new SoftpackError('INVALID_ARGUMENT', 'norm and hidden states do not match', {
      field: 'norm',
      expected: `${width} weights, for ${name}`,
      found: weights.length,
    });
  }
  const read = async (start: number, count: number) => {
    const states = await labels.read(start, count);
    for (let at = 0; at < states.length; at += width) {
      const state = states.subarray(at, at + width);
      const square = state.reduce((sum, value) => sum + value * value, 0) / width;
      const factor = 1 / Math.sqrt(square + eps);
      for (let i = 0; i < width; i++) state[i] *= factor * weights[i];
    }
    return states;
  };
  return { ...sequence, labels: { kind: 'hidden', width, read } };
}
