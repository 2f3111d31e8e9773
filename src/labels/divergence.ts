import { SoftpackError } from '../errors.js';

/**
 * Distances of decoded labels from the teacher's. All sums run in float64.
 * Labels are probabilities, [rows, classes], rows following each other.
 */

/**
 * Inside logarithms, smaller probabilities count as this one, so that a decoded zero costs a large, finite
 * amount. Float32 softmax of a temperature-20 teacher stays far above it.
 */
export const PROBABILITY_FLOOR = 1e-12;

export interface LabelDivergence {
  /** Mean over rows of KL(y || q) = sum_j y_j log(y_j / q_j) - y_j + q_j, nats: sums of rounded labels are not quite 1. */
  readonly kl: number;
  /** Energy of the error of row-centred log-probabilities over their energy: 0 is exact, 1 is all lost. */
  readonly nmse: number;
  /** Share of rows whose most likely class is the same; ties go to the lowest class. */
  readonly top1: number;
}

/**
 * State of a {@link DivergenceMeter}: rows, sums of KL, error and energy in units of 2^-60, and agreeing rows. Sums of whole
 * numbers do not depend on their order: those of many machines merge to the same as those of one.
 */
export type DivergenceSums = readonly [bigint, bigint, bigint, bigint, bigint];

const UNIT = 2 ** -60;

function inUnits(value: number): bigint {
  return BigInt(Math.round(value / UNIT));
}

/** Sums up divergences batch by batch: labels need never be in memory at once. */
export class DivergenceMeter {
  readonly #classes: number;
  #sums: DivergenceSums = [0n, 0n, 0n, 0n, 0n];
  /** A row had values that are not numbers: there is no sum. */
  #spoiled = false;

  constructor(classes: number) {
    this.#classes = classes;
  }

  /** A meter that goes on where another one gave its {@link sums}. */
  static from(classes: number, sums: DivergenceSums): DivergenceMeter {
    const meter = new DivergenceMeter(classes);
    meter.merge(sums);
    return meter;
  }

  sums(): DivergenceSums {
    return this.#sums;
  }

  /** Adds what another meter measured of other rows. */
  merge([rows, kl, error, energy, agreeing]: DivergenceSums): void {
    const own = this.#sums;
    this.#sums = [own[0] + rows, own[1] + kl, own[2] + error, own[3] + energy, own[4] + agreeing];
  }

  /** Adds rows of labels y and of their decoded counterparts q. */
  add(labels: Float32Array, decoded: Float32Array): void {
    const classes = this.#classes;
    if (labels.length % classes !== 0 || decoded.length !== labels.length) {
      throw new SoftpackError('INVALID_ARGUMENT', 'not two arrays of whole rows', {
        field: 'decoded',
        expected: `as long as labels, a multiple of ${classes}`,
        found: `${decoded.length} and ${labels.length}`,
      });
    }
    for (let begin = 0; begin < labels.length; begin += classes) {
      this.#addRow(labels, decoded, begin);
    }
  }

  #addRow(labels: Float32Array, decoded: Float32Array, begin: number): void {
    const end = begin + this.#classes;
    let kl = 0;
    let sum = 0;
    let sumOfSquares = 0;
    let errorSum = 0;
    let errorSumOfSquares = 0;
    let best = begin;
    let bestDecoded = begin;
    for (let j = begin; j < end; ++j) {
      const logLabel = Math.log(Math.max(labels[j], PROBABILITY_FLOOR));
      const error = logLabel - Math.log(Math.max(decoded[j], PROBABILITY_FLOOR));
      kl += labels[j] * error + (decoded[j] - labels[j]);
      sum += logLabel;
      sumOfSquares += logLabel * logLabel;
      errorSum += error;
      errorSumOfSquares += error * error;
      if (labels[j] > labels[best]) best = j;
      if (decoded[j] > decoded[bestDecoded]) bestDecoded = j;
    }
    // Centring a row takes its mean out of the energy: |v - mean|^2 = |v|^2 - (sum v)^2 / n.
    const energy = Math.max(0, sumOfSquares - (sum * sum) / this.#classes);
    const lost = Math.max(0, errorSumOfSquares - (errorSum * errorSum) / this.#classes);
    const agreeing = best === bestDecoded ? 1n : 0n;
    if (Number.isFinite(kl + lost + energy)) {
      this.merge([1n, inUnits(kl), inUnits(lost), inUnits(energy), agreeing]);
    } else {
      this.#spoiled = true;
      this.merge([1n, 0n, 0n, 0n, agreeing]);
    }
  }

  /** Divergence of everything added so far; NaN before the first row. */
  result(): LabelDivergence {
    const [rows, kl, error, energy, agreeing] = this.#sums.map(Number);
    if (this.#spoiled) return { kl: Number.NaN, nmse: Number.NaN, top1: agreeing / rows };
    // Uniform labels have no energy; decoding them exactly is no error.
    const exact = rows > 0 && error === 0;
    return {
      kl: (kl * UNIT) / rows,
      nmse: exact ? 0 : error / energy,
      top1: agreeing / rows,
    };
  }
}

/** Divergence of labels [rows, classes] from their decoded counterparts. */
export function labelDivergence(
  labels: Float32Array,
  decoded: Float32Array,
  classes: number,
): LabelDivergence {
  const meter = new DivergenceMeter(classes);
  meter.add(labels, decoded);
  return meter.result();
}
