import { type Costs, costsOf } from '../../codecs/transform/quantiser.js';
import type { Kernels } from '../../kernels/types.js';
import { type CoefficientSpace, coefficientsOf, stepClasses } from './coefficients.js';
import type { HeadMetric, SensitivityBasis } from './head-metric.js';
import type { HiddenCodec } from './hidden-codec.js';
import { byClass, STATES, unitOfClass } from './pooled.js';

/** What only an encoder needs besides its codec. */
export interface EncoderParts {
  readonly metric: HeadMetric;
  readonly space: CoefficientSpace;
  readonly sensitivity: SensitivityBasis;
  /** Sensitivity of labels of class 2. */
  readonly reference: number;
}

/** Encodes hidden states with what was learnt of others. */
export class HiddenEncoder {
  readonly codec: HiddenCodec;
  readonly #parts: EncoderParts;
  readonly #kernels: Kernels;
  readonly #costs = new Map<number, Costs>();

  constructor(codec: HiddenCodec, parts: EncoderParts, kernels: Kernels) {
    this.codec = codec;
    this.#parts = parts;
    this.#kernels = kernels;
  }

  /** Bytes of a group of hidden states [labels, width]. */
  async encode(states: Float32Array): Promise<Uint8Array> {
    const { metric, space, sensitivity, reference } = this.#parts;
    const { config, model } = this.codec;
    const values = await coefficientsOf(states, space, this.#kernels);
    const found = await metric.sensitivities(states, sensitivity);
    const classes = stepClasses(found, reference);
    const indices = byClass(values, classes, space.rank, (own, stepClass, out) => {
      const unit = unitOfClass(config.step, stepClass);
      const costs = this.#costsOf(stepClass);
      const { shifts } = model;
      this.#kernels.quantise({ values: own, unit, shifts, costs, trellis: STATES, out });
    });
    return this.codec.encodeGroup(indices, classes);
  }

  #costsOf(stepClass: number): Costs {
    const known = this.#costs.get(stepClass);
    if (known !== undefined) return known;
    const costs = costsOf(this.codec.tablesOf(stepClass));
    this.#costs.set(stepClass, costs);
    return costs;
  }
}
