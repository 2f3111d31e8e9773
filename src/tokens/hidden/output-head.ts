import { createHash } from 'node:crypto';
import { argument } from '../../core/check.js';
import { SoftpackError } from '../../errors.js';

/** A teacher's output matrix: its logits are `weights` times a hidden state. */
export interface OutputHead {
  readonly vocabulary: number;
  readonly width: number;
  /** [vocabulary, width]. */
  readonly weights: Float32Array;
}

export function checkHead(head: OutputHead): OutputHead {
  const { vocabulary, width, weights } = head;
  argument.count(vocabulary, 'head.vocabulary', 1);
  argument.count(width, 'head.width', 1);
  const { length } = weights;
  const elements = vocabulary * width;
  argument.that(length === elements, length, 'head.weights.length', `${elements}`);
  const wrong = weights.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return head;
  throw new SoftpackError('NON_FINITE', 'output matrix has a value that is not a number', {
    field: `head.weights[${wrong}]`,
    expected: 'finite values',
    found: weights[wrong],
  });
}

/** sha256 of a matrix as float32, whatever it was stored as, so that a copy from elsewhere can be compared. */
export function headDigest({ weights }: OutputHead): string {
  const bytes = new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength);
  return createHash('sha256').update(bytes).digest('hex');
}
