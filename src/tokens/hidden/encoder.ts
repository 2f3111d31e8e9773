import { type Costs, costsOf } from '../../codecs/transform/quantiser.js';
import type { Kernels } from '../../kernels/types.js';
import { type CoefficientSpace, coefficientsOf, statesOf, stepClasses } from './coefficients.js';
import { MIDDLE_CLASS } from './config.js';
import type { ExactUnits } from './exact-codec.js';
import { byName, type ExactIds } from './exact-ids.js';
import { unitsOf } from './exact-units.js';
import type { HeadMetric, SensitivityBasis } from './head-metric.js';
import type { HiddenCodec } from './hidden-codec.js';
import { byClass, STATES, unitOfClass, valuesOf } from './pooled.js';

/** What only an encoder needs besides its codec. */
export interface EncoderParts {
  readonly metric: HeadMetric;
  readonly space: CoefficientSpace;
  readonly sensitivity: SensitivityBasis;
  /** Sensitivity of labels of the middle class. */
  readonly reference: number;
  /** Mean divergence that is aimed at, of what no correction changes. */
  readonly kl: number;
  /** Divergence that a bit of a correction is worth. */
  readonly slope: number;
}

/**
 * A label of a coarse class may diverge this many times what is aimed at; one that does more is coded with a finer step. Its
 * distribution was nearly certain: sensitivities say what small errors do.
 */
export const MOST_TIMES = 6;
/** Classes that such a label goes down, and how often. */
const FINER_CLASSES = 2;
const FINER_ROUNDS = 3;

/** Encodes hidden states with what was learnt of others. */
export class HiddenEncoder {
  readonly codec: HiddenCodec;
  readonly #parts: EncoderParts;
  readonly #kernels: Kernels;
  readonly #costs = new Map<number, Costs>();
  #unitCosts: Costs | undefined;

  constructor(codec: HiddenCodec, parts: EncoderParts, kernels: Kernels) {
    this.codec = codec;
    this.#parts = parts;
    this.#kernels = kernels;
  }

  /** Bytes of a group of hidden states [labels, width]. */
  async encode(states: Float32Array): Promise<Uint8Array> {
    const { metric, space, sensitivity, reference } = this.#parts;
    const values = await coefficientsOf(states, space, this.#kernels);
    const { values: found, exact } = await metric.sensitivities(states, sensitivity);
    const classes = stepClasses(found, reference);
    const indices = this.#quantise(values, classes);
    await this.#refine(states, values, classes, indices);
    return this.codec.encodeGroup(indices, classes, await this.#correct(indices, classes, exact));
  }

  /** Corrections of logits of what is decoded, if the codec has any. */
  async #correct(
    indices: Int16Array,
    classes: Uint8Array,
    exact: readonly ExactIds[],
  ): Promise<ExactUnits | undefined> {
    const { exact: coder } = this.codec;
    if (coder === undefined) return undefined;
    const { metric, slope } = this.#parts;
    const named = exact.map((own) => byName(own, coder.renaming));
    const ids = named.map(({ exact: own }) => own);
    const corrections = await metric.corrections(await this.#decoded(indices, classes), ids);
    this.#unitCosts ??= costsOf(coder.tables);
    return {
      counts: Uint32Array.from(named, ({ names }) => names.length),
      names: Uint32Array.from(named.flatMap(({ names }) => [...names])),
      units: unitsOf(corrections, ids, { step: coder.step, slope }, this.#unitCosts),
    };
  }

  async #decoded(indices: Int16Array, classes: Uint8Array): Promise<Float32Array> {
    const { config, model } = this.codec;
    const values = valuesOf(indices, classes, config.step, model.shifts, this.#kernels);
    return statesOf(values, this.#parts.space, this.#kernels);
  }

  #quantise(values: Float32Array, classes: Uint8Array): Int16Array {
    const { config, model } = this.codec;
    return byClass(values, classes, this.#parts.space.rank, (own, stepClass, out) => {
      const unit = unitOfClass(config.step, stepClass);
      const costs = this.#costsOf(stepClass);
      const { shifts } = model;
      this.#kernels.quantise({ values: own, unit, shifts, costs, trellis: STATES, out });
    });
  }

  /** Changes classes and indices of labels that diverge too much. */
  async #refine(
    states: Float32Array,
    values: Float32Array,
    classes: Uint8Array,
    indices: Int16Array,
  ): Promise<void> {
    const { metric, space, kl } = this.#parts;
    const { rank, width } = space;
    let labels = Array.from(classes.keys()).filter((label) => classes[label] > MIDDLE_CLASS);
    for (let round = 0; round < FINER_ROUNDS && labels.length > 0; round++) {
      const own = Uint8Array.from(labels, (label) => classes[label]);
      const coded = rowsOf(indices, labels, rank);
      const others = await this.#decoded(coded, own);
      const distances = await metric.divergences(rowsOf(states, labels, width), others);
      labels = labels.filter((_, i) => distances[i] > MOST_TIMES * kl);
      for (const label of labels) classes[label] = Math.max(classes[label] - FINER_CLASSES, 0);
      const finer = Uint8Array.from(labels, (label) => classes[label]);
      const again = this.#quantise(rowsOf(values, labels, rank), finer);
      for (const [i, label] of labels.entries()) {
        indices.set(again.subarray(i * rank, (i + 1) * rank), label * rank);
      }
    }
  }

  #costsOf(stepClass: number): Costs {
    const known = this.#costs.get(stepClass);
    if (known !== undefined) return known;
    const costs = costsOf(this.codec.tablesOf(stepClass));
    this.#costs.set(stepClass, costs);
    return costs;
  }
}

/** Some rows of a matrix. */
function rowsOf<T extends Float32Array | Int16Array>(
  values: T,
  rows: readonly number[],
  width: number,
): T {
  const out = values.slice(0, rows.length * width) as T;
  for (const [i, row] of rows.entries()) {
    out.set(values.subarray(row * width, (row + 1) * width), i * width);
  }
  return out;
}
