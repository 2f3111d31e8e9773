import { SoftpackError } from '../errors.js';
import type { Teacher } from '../nn/teachers/teacher.js';

export interface Score {
  /** Cross-entropy of the class at temperature 1, nats. */
  readonly loss: number;
  readonly correct: boolean;
}

/** What the teacher says of normalised images [targets, height, width, 3] that should show these classes. */
export async function scoreImages(
  teacher: Teacher,
  images: Float32Array,
  targets: readonly number[],
): Promise<readonly Score[]> {
  const logits = await teacher.logits(images);
  const { classes } = teacher;
  return targets.map((target, i) =>
    scoreOf(logits.subarray(i * classes, (i + 1) * classes), target),
  );
}

function scoreOf(row: Float32Array, target: number): Score {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of row) most = Math.max(most, logit);
  let sum = 0;
  for (const logit of row) sum += Math.exp(logit - most);
  const loss = Math.log(sum) + most - row[target];
  if (Number.isFinite(loss)) return { loss, correct: row[target] === most };
  throw new SoftpackError('NON_FINITE', 'the teacher gives logits that are not finite', {
    field: `class ${target}`,
    found: loss,
  });
}
