import type { Kernels } from '../../kernels/types.js';
import { DivergenceMeter } from '../../labels/divergence.js';
import { logitsFromProbabilities, softmaxRows } from '../../labels/temperature.js';
import type { LabelContext } from '../codec.js';
import type { CodecTraining, LabelTemperature } from '../descriptor.js';
import type { TransformCodec } from './codec.js';
import { readLabels } from './drawn-labels.js';
import { viewsOf } from './mixes.js';
import { centreLogits } from './project.js';

/** Labels that a codec is measured on, and most bytes that they may take. */
const HELD_OUT_LABELS = 2048;
const HELD_OUT_BYTES = 32 * 2 ** 20;

/** What decoding gives back of labels that the codec did not learn from. */
export interface Measured {
  /** Mean over labels and temperatures, nats. */
  readonly kl: number;
  /** Mean squared error of centred logits, summed over classes. */
  readonly distortion: number;
}

/** Labels of a draw of their own: what a codec reaches on those it learnt from is too good. */
export class HeldOutLabels {
  readonly #logits: Float32Array;
  readonly #classes: number;
  readonly #context: LabelContext;
  readonly #temperatures: readonly LabelTemperature[];
  readonly #kernels: Kernels;

  private constructor(
    logits: Float32Array,
    context: LabelContext,
    { classes, tau, temperatures = [{ tau, share: 1 }], kernels }: CodecTraining,
  ) {
    this.#kernels = kernels;
    this.#logits = logits;
    this.#classes = classes;
    this.#context = context;
    this.#temperatures = temperatures;
  }

  /** @param shown tell what views show, too. */
  static async draw(training: CodecTraining, shown: boolean): Promise<HeldOutLabels> {
    const fitting = Math.floor(HELD_OUT_BYTES / (4 * training.classes));
    const most = Math.max(1, Math.min(HELD_OUT_LABELS, fitting));
    const { values, mixes } = await readLabels(
      (visit) => training.drawLogits(visit, most),
      (logits) => logits,
      shown,
    );
    const context = { epoch: 0, samples: mixes.sample, augmentation: viewsOf(mixes) };
    return new HeldOutLabels(values, context, training);
  }

  async measure(codec: TransformCodec): Promise<Measured> {
    const logits = this.#logits;
    const [context, classes, tau] = [this.#context, this.#classes, codec.tau];
    const count = logits.length / classes;
    const row = await codec.encode(logits, context);
    const [label, decoded] = [new Float32Array(logits.length), new Float32Array(logits.length)];
    const decode = (at: number) =>
      codec.decodeAsync({ row, labels: { start: 0, count }, context, out: decoded, tau: at });
    let kl = 0;
    for (const { tau: at, share } of this.#temperatures) {
      softmaxRows(logits, count, classes, at, label);
      await decode(at);
      const meter = new DivergenceMeter(classes);
      meter.add(label, decoded);
      kl += share * meter.result().kl;
    }
    await decode(tau);
    logitsFromProbabilities(decoded, tau, decoded);
    const [own, found] = [logits, decoded].map((values) =>
      centreLogits(values, classes, tau, this.#kernels),
    );
    const squares = own.reduce((sum, value, i) => sum + (value - found[i]) ** 2, 0);
    return { kl, distortion: squares / count };
  }
}
