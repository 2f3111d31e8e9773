import { splitBlocks } from '../core/blocks.js';
import { throwIfAborted } from '../errors.js';
import type { CodesArchive } from './read-labels.js';

/** Comparison of the codes of two archives of one layout, label by label. */

/** Labels compared at a time: a multiple of all blocks that are not larger, and of whole bytes. */
const CHUNK = 65_536;

/** Some consecutive samples of one epoch. */
export interface SampleRun {
  readonly epoch: number;
  /** [first, after the last]. */
  readonly samples: readonly [number, number];
}

/** Runs of labels whose codes differ; in the `blocks` layout, of whole blocks. */
export async function* differingCodes(
  a: CodesArchive,
  b: CodesArchive,
  epochs: number,
  signal?: AbortSignal,
): AsyncGenerator<SampleRun> {
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (let start = 0; start < a.samples; start += CHUNK) {
      throwIfAborted(signal);
      const range = { start, count: Math.min(CHUNK, a.samples - start) };
      const [left, right] = [await a.readCodes(epoch, range), await b.readCodes(epoch, range)];
      if (Buffer.compare(left.row, right.row) === 0) continue;
      const each = left.first;
      const count = start + range.count - each;
      for (const [from, to] of runsOf(differing(a, left.row, right.row, count))) {
        const samples = [Math.max(start, each + from), Math.min(each + to, a.samples)] as const;
        if (samples[0] < samples[1]) yield { epoch, samples };
      }
    }
  }
}

/** Positions of the labels that differ, ascending; each of a block stands for all of its labels. */
function differing(
  { manifest: { layout } }: CodesArchive,
  a: Uint8Array,
  b: Uint8Array,
  count: number,
): readonly number[] {
  const found: number[] = [];
  if (layout.kind === 'blocks') {
    const { labelsPerBlock } = layout;
    const [left, right] = [splitBlocks(a), splitBlocks(b)];
    for (const [i, block] of left.entries()) {
      if (Buffer.compare(block, right[i]) === 0) continue;
      const end = Math.min(count, (i + 1) * labelsPerBlock);
      for (let at = i * labelsPerBlock; at < end; at++) found.push(at);
    }
    return found;
  }
  for (let i = 0; i < a.length; i++) {
    const bits = a[i] ^ b[i];
    for (let bit = 0; bit < 8; bit++) {
      if ((bits & (1 << bit)) === 0) continue;
      const label = Math.floor((8 * i + bit) / layout.bitsPerLabel);
      if (label < count && found.at(-1) !== label) found.push(label);
    }
  }
  return found;
}

function* runsOf(ascending: readonly number[]): Generator<readonly [number, number]> {
  for (let i = 0; i < ascending.length; ) {
    let end = i + 1;
    while (end < ascending.length && ascending[end] === ascending[end - 1] + 1) end++;
    yield [ascending[i], ascending[end - 1] + 1];
    i = end;
  }
}
