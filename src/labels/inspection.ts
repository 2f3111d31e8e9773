import { SoftpackError } from '../errors.js';
import type { LabelSource } from './source.js';
import { softmaxRows } from './temperature.js';

/** Meaning of the values of a label source. */
export type LabelKind = 'logits' | 'probabilities';

/** Rows inspected before labels count as logits. */
const INSPECTED_ROWS = 64;
/** Fewer values between 0 and 1 may be so by chance. */
const FEWEST_VALUES = 32;
/** Rounding to bfloat16 moves the sum of a row of probabilities by less. */
const SUM_TOLERANCE = 0.02;
/** Mean KL from uniform labels, nats: at temperature 20, logits with a standard deviation of 0.03. */
const LEAST_KL = 1e-6;
/** Mean entropy below temperature 1, nats: leads of 17 temperatures over all other classes. */
const LEAST_ENTROPY = 1e-6;

/**
 * Looks at labels before they are packed as logits. Probabilities, one-hot rows and sigmoid outputs would become
 * labels that are nearly uniform and decode "exactly".
 */
export class LabelInspection {
  readonly #classes: number;
  readonly #tau: number;
  #rows = 0;
  #least = Number.POSITIVE_INFINITY;
  #most = Number.NEGATIVE_INFINITY;
  #leastSum = Number.POSITIVE_INFINITY;
  #mostSum = Number.NEGATIVE_INFINITY;
  #kl = 0;
  #entropy = 0;

  /** @param tau temperature of the labels. */
  constructor(classes: number, tau: number) {
    this.#classes = classes;
    this.#tau = tau;
  }

  /** Rows seen so far are enough to judge all. */
  get enough(): boolean {
    return this.#rows >= INSPECTED_ROWS;
  }

  add(logits: Float32Array): void {
    const labels = new Float32Array(logits.length);
    softmaxRows(logits, logits.length / this.#classes, this.#classes, this.#tau, labels);
    for (let begin = 0; begin < logits.length; begin += this.#classes) {
      let sum = 0;
      for (let i = begin; i < begin + this.#classes; i++) {
        this.#least = Math.min(this.#least, logits[i]);
        this.#most = Math.max(this.#most, logits[i]);
        sum += logits[i];
        if (labels[i] > 0) {
          this.#kl += labels[i] * Math.log(labels[i] * this.#classes);
          this.#entropy -= labels[i] * Math.log(labels[i]);
        }
      }
      this.#leastSum = Math.min(this.#leastSum, sum);
      this.#mostSum = Math.max(this.#mostSum, sum);
      this.#rows++;
    }
  }

  /** `INVALID_ARGUMENT`, with what to do, if the labels seen so far are no logits. */
  require(field: string): void {
    const problem = this.#classes < 2 || this.#rows === 0 ? undefined : this.#problem();
    if (problem === undefined) return;
    const [message, expected] = problem;
    throw new SoftpackError('INVALID_ARGUMENT', message, {
      field,
      expected: `${expected}; or --logits ({ labels: 'logits' }) if they are logits all the same`,
      found: `values from ${short(this.#least)} to ${short(this.#most)}`,
    });
  }

  #problem(): readonly [string, string] | undefined {
    if (this.#least >= 0 && this.#most > 0) {
      if (this.#sumsAre(1)) {
        return [
          'labels look like probabilities, not logits: every row sums to 1',
          "--probabilities ({ labels: 'probabilities' })",
        ];
      }
      const values = this.#rows * this.#classes;
      if (this.#most <= 1 && values >= FEWEST_VALUES) {
        return [
          'labels look like sigmoid outputs or scores, not logits: all are between 0 and 1',
          'logits, of sigmoid outputs log(p / (1 - p))',
        ];
      }
      if (values >= FEWEST_VALUES && this.#rows > 2 && this.#sumsAre(this.#mostSum)) {
        const sum = short(this.#mostSum);
        return [
          `labels look like scaled probabilities, not logits: every row sums to ${sum}`,
          `values divided by ${sum}, with --probabilities ({ labels: 'probabilities' })`,
        ];
      }
    }
    const tau = this.#tau;
    if (tau < 1 && this.#entropy / this.#rows < LEAST_ENTROPY) {
      return [
        `labels are the likeliest classes alone at temperature ${tau}`,
        'a higher temperature, e.g. --tau 1',
      ];
    }
    if (this.#kl / this.#rows >= LEAST_KL) return undefined;
    return [
      `labels are nearly uniform at temperature ${tau}`,
      `logits that differ by more than ${short(tau / 100)}, or a lower temperature, e.g. --tau 1`,
    ];
  }

  #sumsAre(sum: number): boolean {
    const tolerance = SUM_TOLERANCE * sum;
    return this.#leastSum >= sum - tolerance && this.#mostSum <= sum + tolerance;
  }
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** Inspects rows from all over a source. `INVALID_ARGUMENT` if they are no logits. */
export async function requireLogits(
  source: LabelSource,
  tau: number,
  field: string,
): Promise<void> {
  const { epochs, samples, classes } = source;
  const inspection = new LabelInspection(classes, tau);
  const total = epochs * samples;
  const count = Math.min(total, INSPECTED_ROWS);
  for (let i = 0; i < count; i++) {
    const label = Math.floor((i * total) / count);
    inspection.add(await source.read(Math.floor(label / samples), label % samples, 1));
  }
  inspection.require(field);
}
