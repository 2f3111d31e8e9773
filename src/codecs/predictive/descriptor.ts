import { argumentChecker } from '../config.js';
import type { CodecDescriptor } from '../descriptor.js';
import type { PredictiveChoice, PredictiveSized, TransformSized } from '../transform/choice.js';
import { DECODINGS, TransformCodec } from '../transform/codec.js';
import { TRANSFORM, trainTransform } from '../transform/descriptor.js';

/** `transform`, which may also predict labels by a network, where that saves more bytes than it takes. */
export const PREDICTIVE: CodecDescriptor<PredictiveSized, PredictiveChoice> = {
  name: 'predictive',
  // 2: as transform. 3: a network that learns less by heart.
  revision: 3,
  parameters: [
    ...TRANSFORM.parameters,
    { name: 'network', words: 'a network that predicts labels', kind: 'form', libraryOnly: true },
  ],
  docs: {
    label: 'the same, less what a network predicts of it',
    bits: 'the same',
    besides: 'the same, embeddings, 40 to 65 B an image, and a network of 50 to 75 KB',
  },
  usesViews: 'shown',
  weighsEpochs: true,
  anyTau: () => true,
  sized(choice, context) {
    const sized = TRANSFORM.sized({ ...choice, name: 'transform' }, context);
    return { ...sized, name: 'predictive' };
  },
  check(choice, context, checker) {
    TRANSFORM.check(asTransform(choice), context, checker);
    if (choice.network !== undefined) checker.flag(choice.network, 'network');
  },
  scans(choice, labels) {
    const learns = choice.network !== false && labels.epochs > 1;
    return learns || TRANSFORM.scans?.(asTransform(choice), labels) === true;
  },
  trainingBytes: (choice, context) => TRANSFORM.trainingBytes?.(asTransform(choice), context) ?? 0,
  forBytes({ bytesOf, form, ...request }) {
    const { network, ...common } = form ?? {};
    const own = (choice: TransformSized): PredictiveSized => ({
      ...choice,
      name: 'predictive',
      ...(network !== undefined && { network }),
    });
    const found = TRANSFORM.forBytes?.({
      ...request,
      form: common,
      bytesOf: (choice) => bytesOf(own(choice)),
    });
    return found && own(found);
  },
  shape(choice, labels) {
    const shape = TRANSFORM.shape(asTransform(choice), labels);
    return { ...shape, name: 'predictive', decoding: DECODINGS.predictive };
  },
  async train(choice, context) {
    this.check(choice, { ...context, training: undefined }, argumentChecker('predictive'));
    return trainTransform(choice, context);
  },
  load: (parts, kernels, options) => TransformCodec.fromParts(parts, kernels, options),
};

function asTransform({ network: _, ...choice }: PredictiveSized): TransformSized {
  return { ...choice, name: 'transform' };
}
