import { allocate } from '../../core/allocate.js';
import { SoftpackError } from '../../errors.js';
import type { Kernels } from '../../kernels/types.js';
import type { TokenSequence, TokenSource } from '../token-source.js';
import type { OutputHead } from './output-head.js';

/** Logits [rows, vocabulary] of states [rows, width] behind the teacher's last norm. */
export async function headLogits(
  states: Float32Array,
  { vocabulary, width, weights }: OutputHead,
  kernels: Kernels,
): Promise<Float32Array> {
  const rows = states.length / width;
  const out = new Float32Array(allocate(4 * rows * vocabulary, 'logits'));
  const shape = { rows, inner: width, columns: vocabulary, transposeB: true };
  await kernels.projectAsync({ a: states, b: weights, out, ...shape });
  return out;
}

/** Labels that are hidden states as logits, which are made of as many as are read at a time. */
export function logitsOfStates(
  source: TokenSource,
  head: OutputHead,
  kernels: Kernels,
): TokenSource {
  return {
    vocabulary: head.vocabulary,
    async *sequences(signal) {
      for await (const own of source.sequences(signal)) yield withLogits(own, head, kernels);
    },
  };
}

function withLogits(own: TokenSequence, head: OutputHead, kernels: Kernels): TokenSequence {
  const { labels, name } = own;
  if (labels.kind !== 'hidden') return own;
  if (labels.width !== head.width) {
    throw new SoftpackError('INVALID_ARGUMENT', 'output matrix and hidden states do not match', {
      field: 'head',
      expected: `${labels.width} dimensions, for ${name}`,
      found: head.width,
    });
  }
  const read = async (start: number, count: number) =>
    headLogits(await labels.read(start, count), head, kernels);
  return { ...own, labels: { kind: 'logits', width: head.vocabulary, read } };
}
