import { join } from 'node:path';
import { SoftpackError } from '#src/errors.js';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readOutputHead } from '#src/interop/tokens/output-head.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { Answer } from './answer.js';

/** Texts with a teacher's states. */
export interface LabelledTexts {
  readonly texts: readonly Answer[];
  readonly head: OutputHead;
  /** The teacher's most probable answers to some of the same prompts, made when they are asked for. */
  greedy?(which: readonly number[]): Promise<readonly Answer[]>;
}

/**
 * Texts with a teacher's hidden states that were computed before: `hidden.npy` [tokens, width] behind the last norm,
 * `head.npy` [ids, width], `tokens.npy` and `lengths.npy` of the texts.
 */
export async function textsOfStates(
  folder: string,
  most = Number.POSITIVE_INFINITY,
): Promise<LabelledTexts> {
  const file = (name: string) => join(folder, `${name}.npy`);
  const head = await readOutputHead(file('head'));
  await using labels = await openTokenLabels({
    ...{ source: file('hidden'), from: 'hidden', vocabulary: head.vocabulary },
    ...{ tokens: file('tokens'), lengths: file('lengths') },
  });
  const texts: Answer[] = [];
  for await (const { tokens, rows: all, labels: own } of labels.sequences()) {
    if (texts.length >= most) break;
    if (own.kind !== 'hidden' || tokens === undefined) throw noStates(folder);
    const hidden = (await own.read(0, all)).slice();
    // What follows the last token is not known.
    const rows = tokens.length - 1;
    const states = async () => hidden.subarray(0, rows * head.width);
    texts.push({ tokens: tokens.slice(), first: 0, rows, states });
  }
  return { texts, head };
}

function noStates(folder: string): SoftpackError {
  const details = { field: folder, expected: 'hidden states and their texts', found: 'others' };
  return new SoftpackError('INVALID_ARGUMENT', 'no labels for this experiment', details);
}
