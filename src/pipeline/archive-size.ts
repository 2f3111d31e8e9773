import { type PlannedLabels, predictArchive } from '../archive/size.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice } from '../codecs/descriptor.js';
import type { CodecChoice } from '../codecs/registry.js';
import { isSoftpackError, SoftpackError } from '../errors.js';

/** A codec whose size is chosen so that the whole archive, every byte counted, reaches a compression ratio. */
export interface TotalRatioChoice {
  /** Default: `vqae`. */
  readonly name?: string;
  /** 2 bytes per class of every label over all bytes of the archive. */
  readonly totalRatio: number;
  /** Parameters of the codec that are no sizes, e.g. `values` of `topk`. */
  readonly [form: string]: unknown;
}

/** Bytes by which a manifest may exceed its prediction: the codec's own settings and the digits of numbers. */
const UNPREDICTED = 512;

/** Most bytes that the archive of a codec can take up; infinite if no archive can hold it. */
export function archiveBytes(
  choice: NamedChoice,
  labels: PlannedLabels,
  codecs: CodecRegistry,
): number {
  try {
    return predictArchive(codecs.shape(choice, labels), labels).total;
  } catch (error) {
    if (isSoftpackError(error)) return Number.POSITIVE_INFINITY;
    throw error;
  }
}

/**
 * The largest parameters of a codec whose archive is at most `budget` bytes in total, or `undefined` if even
 * the smallest is larger.
 *
 * @param form parameters that are no sizes.
 */
export function choiceForBytes(
  name: string,
  labels: PlannedLabels,
  budget: number,
  form: Readonly<Record<string, unknown>>,
  codecs: CodecRegistry,
): NamedChoice | undefined {
  const bytesOf = (choice: NamedChoice) => archiveBytes(choice, labels, codecs);
  return codecs.forBytes(name, { labels, budget: budget - UNPREDICTED, form, bytesOf });
}

export function isTotalRatio(choice: CodecChoice | TotalRatioChoice): choice is TotalRatioChoice {
  return 'totalRatio' in choice && choice.totalRatio !== undefined;
}

/**
 * The parameters that reach the ratio asked for; `INVALID_ARGUMENT` with the highest reachable one if none do.
 *
 * @param full bytes of the uncompressed labels.
 */
export function choiceForRatio(
  { name: asked, totalRatio, ...form }: TotalRatioChoice,
  labels: PlannedLabels,
  full: number,
  codecs: CodecRegistry,
): CodecChoice {
  const name = asked ?? codecs.names[0];
  if (!(totalRatio >= 1)) throw badRatio('not a compression ratio', 'at least 1', totalRatio);
  const at = (ratio: number) => choiceForBytes(name, labels, full / ratio, form, codecs);
  const found = at(totalRatio);
  if (found !== undefined) return found as CodecChoice;
  const highest = highestRatio(totalRatio, (ratio) => at(ratio) !== undefined);
  const expected =
    highest < 1
      ? 'more labels (the files of an archive alone are larger than these), or sizes of the codec instead of a ratio'
      : `at most ${Math.floor(10 * highest) / 10} (another codec or more labels may reach more)`;
  throw badRatio(`no ${name} archive of these labels is this small`, expected, totalRatio);
}

/** By bisection, to a thousandth. */
function highestRatio(unreached: number, reaches: (ratio: number) => boolean): number {
  let [low, high] = [0, unreached];
  while (high - low > 1e-3 * high && high > 1e-3) {
    const middle = (low + high) / 2;
    if (reaches(middle)) low = middle;
    else high = middle;
  }
  return low;
}

function badRatio(message: string, expected: string, found: number): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', message, { field: 'ratio', expected, found });
}
