import { type PlannedLabels, predictArchive } from '../archive/size.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice } from '../codecs/descriptor.js';
import type { CodecChoice } from '../codecs/registry.js';
import { leastRateOf } from '../codecs/size-search.js';
import { argument } from '../core/check.js';
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

/** A codec whose size is chosen so that the whole archive takes at most so many bytes. */
export interface TotalBytesChoice {
  /** Default: `vqae`. */
  readonly name?: string;
  readonly totalBytes: number;
  /** Parameters of the codec that are no sizes. */
  readonly [form: string]: unknown;
}

/** The size of a whole archive, from which that of the codec follows. */
export type TotalSizeChoice = TotalRatioChoice | TotalBytesChoice;

/**
 * Bytes by which a manifest and the header of the codec's file may exceed their prediction: the codec's own settings, names
 * of tensors that it decides on when it has seen the labels (some 80 bytes each), and the digits of numbers.
 */
const UNPREDICTED = 768;

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

/** Bytes that suffice for an archive of this codec for sure. */
export function budgetOfChoice(
  choice: NamedChoice,
  labels: PlannedLabels,
  codecs: CodecRegistry,
): number {
  return archiveBytes(choice, labels, codecs) + UNPREDICTED;
}

export function isTotalSize(choice: CodecChoice | TotalSizeChoice): choice is TotalSizeChoice {
  const { totalRatio, totalBytes } = choice as Partial<TotalRatioChoice & TotalBytesChoice>;
  return totalRatio !== undefined || totalBytes !== undefined;
}

/** Bytes that the whole archive may take. @param full bytes of the uncompressed labels. */
export function budgetOf(choice: TotalSizeChoice, full: number): number {
  const { totalRatio, totalBytes } = choice as Partial<TotalRatioChoice & TotalBytesChoice>;
  if (totalBytes !== undefined) {
    argument.that(
      totalRatio === undefined,
      totalRatio,
      'codec.totalRatio',
      'no totalBytes with it',
    );
    return argument.positive(totalBytes, 'codec.totalBytes');
  }
  const ratio = totalRatio ?? Number.NaN;
  if (!(ratio >= 1)) throw badRatio('not a compression ratio', 'at least 1', ratio);
  return full / ratio;
}

/** The codec's name, and its parameters that are no sizes. */
export function formOf({ name, totalRatio: _, totalBytes: _bytes, ...form }: TotalSizeChoice) {
  return { name, form };
}

/**
 * The parameters that reach the size asked for; `INVALID_ARGUMENT` with the smallest reachable one if none do.
 *
 * @param full bytes of the uncompressed labels.
 */
export function choiceForTotal(
  choice: TotalSizeChoice,
  labels: PlannedLabels,
  full: number,
  codecs: CodecRegistry,
): CodecChoice {
  const { name = codecs.names[0], form } = formOf(choice);
  const budget = budgetOf(choice, full);
  const at = (bytes: number) => choiceForBytes(name, labels, bytes, form, codecs);
  const found = at(budget);
  if (found !== undefined) return found as CodecChoice;
  const highest = highestRatio(full / budget, (ratio) => at(full / ratio) !== undefined);
  throw unreachableTotal(choice, name, highest, full);
}

/** @param highest ratio that the codec reaches. */
function unreachableTotal(
  choice: TotalSizeChoice,
  name: string,
  highest: number,
  full: number,
): SoftpackError {
  const message = `no ${name} archive of these labels is this small`;
  const enough = '(another codec or more labels may reach more)';
  if (typeof choice.totalBytes === 'number') {
    return new SoftpackError('INVALID_ARGUMENT', message, {
      field: 'codec.totalBytes',
      expected: `at least ${Math.ceil(full / highest)} ${enough}`,
      found: choice.totalBytes,
    });
  }
  const expected =
    highest < 1
      ? 'more labels (the files of an archive alone are larger than these), or sizes of the codec instead of a ratio'
      : `at most ${Math.floor(10 * highest) / 10} ${enough}`;
  return badRatio(message, expected, Number(choice.totalRatio));
}

/**
 * A codec may find that labels take more bits than its share of the size asked for: then that size is out of reach, and this
 * the error that tells what is not; `undefined` for other errors.
 *
 * @param choice what was to reach it.
 */
export function unreachableSize(
  error: unknown,
  asked: CodecChoice | TotalSizeChoice,
  choice: CodecChoice,
  labels: PlannedLabels,
  full: number,
  codecs: CodecRegistry,
): SoftpackError | undefined {
  const rate = leastRateOf(error);
  if (rate === undefined || !isTotalSize(asked)) return undefined;
  const { name } = codecs.of(choice);
  const { form } = formOf(asked);
  const highest = highestRatio(full / budgetOf(asked, full), (ratio) => {
    const found = choiceForBytes(name, labels, full / ratio, form, codecs);
    return ((found as { readonly rate?: number } | undefined)?.rate ?? 0) >= rate;
  });
  return unreachableTotal(asked, name, highest, full);
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
