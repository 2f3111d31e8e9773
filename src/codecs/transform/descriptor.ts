import { argumentChecker } from '../config.js';
import type { CodecDescriptor, CodecTraining, TrainedCodec } from '../descriptor.js';
import { largestFitting, requireRatio } from '../size-search.js';
import { codecShape } from '../tensors.js';
import type { PredictiveSized, TransformChoice, TransformSized } from './choice.js';
import { DECODINGS, TransformCodec } from './codec.js';
import { blockFor, MAX_COMPONENTS, RATE_UNIT } from './config.js';
import { drawLabels } from './drawn-labels.js';
import { fitsBases } from './predictors.js';
import { searchCodec } from './search.js';

/** Components that an unknown number of them is taken for. */
const USUAL_COMPONENTS = 64;
/** Components worth their bits are hardly more than bits: few need not be found to be searched. */
const FEW_COMPONENTS = 128;
const STATES = [1, 4, 8] as const;

export const TRANSFORM: CodecDescriptor<TransformSized, TransformChoice> = {
  name: 'transform',
  // 2: side data by a trellis, base vectors as coarse as codes make worthwhile and predicted from a class.
  revision: 2,
  parameters: [
    { name: 'rate', words: 'bits per stored label, tensors included', kind: 'goal' },
    { name: 'kl', words: 'mean KL divergence of decoded labels, nats', kind: 'goal' },
    { name: 'step', words: 'step of the quantiser', kind: 'form', libraryOnly: true },
    { name: 'components', words: 'components', kind: 'form', libraryOnly: true },
    { name: 'states', words: 'states of the trellis', kind: 'form', libraryOnly: true },
    { name: 'bases', words: 'a base vector per sample', kind: 'form', libraryOnly: true },
  ],
  docs: {
    label: 'entropy-coded coefficients of principal components of the logits',
    bits: 'rate, on average, tensors included',
    besides: 'basis and base vectors, 2 to 4 bits an entry, in the rate',
  },
  usesViews: true,
  weighsEpochs: true,
  anyTau: () => true,
  sized(choice, { classes }) {
    if (!('ratio' in choice)) return choice;
    const { ratio, ...form } = choice;
    requireRatio(ratio);
    return { ...form, rate: (16 * classes) / ratio };
  },
  check({ rate, step, kl, components, states, bases }, { classes }, checker) {
    if (rate !== undefined) checker.positive(rate, 'rate');
    if (step !== undefined) checker.positive(step, 'step');
    if (kl !== undefined) checker.positive(kl, 'kl');
    const given = Object.entries({ rate, step, kl }).flatMap(([name, value]) =>
      value === undefined ? [] : [name],
    );
    checker.that(given.length === 1, given.join(', ') || 'none', 'rate', 'one of rate, kl, step');
    if (components !== undefined) {
      checker.count(components, 'components', 1, Math.min(classes, MAX_COMPONENTS));
    }
    if (states !== undefined) checker.that(STATES.includes(states), states, 'states', '1, 4 or 8');
    if (bases !== undefined) checker.flag(bases, 'bases');
  },
  scans(choice, { classes, samples, epochs, mixed }) {
    const rank = Math.min(mostComponents(choice), classes);
    return (
      choice.bases !== false && fitsBases({ samples, labels: epochs * samples }, { mixed, rank })
    );
  },
  trainingBytes: (_, { classes }) => 4 * classes * classes,
  forBytes(request) {
    const { classes, samples } = request.labels;
    // Float16 labels, and tensors of as many bits an entry: few labels take less than their basis.
    const most = 16 * classes * (1 + (2 + MAX_COMPONENTS) / samples);
    const high = Math.ceil(most * RATE_UNIT);
    const { step: _, kl: _kl, ...form } = request.form ?? {};
    const at = (units: number): TransformSized => ({
      ...form,
      name: 'transform',
      rate: units / RATE_UNIT,
    });
    return largestFitting(request, high, at);
  },
  shape({ rate, components = USUAL_COMPONENTS }, { classes }) {
    // Without a rate sizes are known once labels were seen: about two bits a component, four an entry of the basis.
    const bits = rate ?? 2 * components;
    const basis = rate === undefined ? Math.ceil((components * classes) / 2) : 0;
    const tensors = [{ name: 'basis', dtype: 'U8', shape: [basis] }] as const;
    const shape = codecShape('transform', bits, tensors);
    return { ...shape, labelsPerBlock: blockFor(bits), decoding: DECODINGS.transform };
  },
  async train(choice, context) {
    this.check(choice, { ...context, training: undefined }, argumentChecker('transform'));
    return trainTransform(choice, context);
  },
  load: (parts, kernels, options) => TransformCodec.fromParts(parts, kernels, options),
};

export async function trainTransform(
  choice: TransformSized | PredictiveSized,
  context: CodecTraining,
): Promise<TrainedCodec> {
  const shown = choice.name === 'predictive';
  const drawn = await drawLabels(context, mostComponents(choice), shown);
  return searchCodec(choice, drawn, context);
}

function mostComponents({ components, rate }: TransformSized | PredictiveSized): number {
  const few = rate !== undefined && rate < FEW_COMPONENTS;
  return components ?? (few ? FEW_COMPONENTS : MAX_COMPONENTS);
}
