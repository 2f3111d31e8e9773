import type * as tf from '@tensorflow/tfjs';
import type { BatchNormTap, NormStatistics } from '../network.js';
import type { RawNetwork } from './differentiable.js';
import type { ModelOutput } from './tensor-run.js';

/** Sees a tensor of the forward pass, channels last. */
type See = (features: tf.Tensor) => void;

/** A layer of a model with its unique name and where its features are. */
interface TappedLayer {
  readonly name: string;
  readonly layer: tf.layers.Layer;
  readonly side: 'input' | 'output';
  /** Axis of the channels, negative from the end. */
  readonly axis: number;
}

const CONVOLUTION_LAYERS = ['Conv2D', 'DepthwiseConv2D', 'SeparableConv2D', 'Conv2DTranspose'];

/** A layers model, seen at its batch norms: at those of models within it too, which no model of chosen outputs would reach. */
export function layersNetwork(model: tf.LayersModel, { index }: ModelOutput): RawNetwork {
  const layers = layersOf(model, '');
  const norms = layers.filter(({ layer }) => layer.getClassName() === 'BatchNormalization');
  const tapped = norms.length > 0 ? norms.map(normTap) : layers.flatMap(convolutionTap);
  return {
    taps: tapped.map(({ name }) => name),
    stored: () => (norms.length > 0 ? norms.map(({ layer }) => statisticsOf(layer)) : undefined),
    run(input, tap) {
      const restore = tapped.map((each) => intercept(each, tap));
      try {
        const found = model.apply(input, { training: false }) as tf.Tensor | tf.Tensor[];
        return Array.isArray(found) ? found[index] : found;
      } finally {
        for (const undo of restore) undo();
      }
    },
  };
}

interface NamedLayer {
  readonly name: string;
  readonly layer: tf.layers.Layer;
}

function layersOf(model: tf.layers.Layer, prefix: string): readonly NamedLayer[] {
  const { layers = [] } = model as { readonly layers?: readonly tf.layers.Layer[] };
  return layers.flatMap((layer) => [
    { name: `${prefix}${layer.name}`, layer },
    ...layersOf(layer, `${prefix}${layer.name}/`),
  ]);
}

function normTap({ name, layer }: NamedLayer): TappedLayer {
  const { axis } = layer as unknown as { readonly axis: number | readonly number[] };
  return { name, layer, side: 'input', axis: Array.isArray(axis) ? axis[0] : Number(axis) };
}

function convolutionTap({ name, layer }: NamedLayer): readonly TappedLayer[] {
  if (!CONVOLUTION_LAYERS.includes(layer.getClassName())) return [];
  const { dataFormat } = layer as unknown as { readonly dataFormat?: string };
  return [{ name, layer, side: 'output', axis: dataFormat === 'channelsFirst' ? 1 : -1 }];
}

/** Its last two weights; scale and shift may be left out before them. */
function statisticsOf(layer: tf.layers.Layer): NormStatistics {
  const [mean, variance] = layer.getWeights().slice(-2);
  return {
    mean: Float32Array.from(mean.dataSync()),
    variance: Float32Array.from(variance.dataSync()),
  };
}

/** Shows the layer's first call of a pass to `tap`, until undone. */
function intercept({ name, layer, side, axis }: TappedLayer, tap: BatchNormTap): () => void {
  let seen = false;
  const call = layer.call;
  const see: See = (features) => {
    if (!seen) tap(name, channelsLast(features, axis));
    seen = true;
  };
  layer.call = (inputs, kwargs) => {
    if (side === 'input') see(first(inputs));
    const outputs = call.call(layer, inputs, kwargs);
    if (side === 'output') see(first(outputs));
    return outputs;
  };
  return () => {
    // The method is the class's again.
    Reflect.deleteProperty(layer, 'call');
  };
}

function first(tensors: tf.Tensor | tf.Tensor[]): tf.Tensor {
  return Array.isArray(tensors) ? tensors[0] : tensors;
}

function channelsLast(features: tf.Tensor, axis: number): tf.Tensor {
  const at = axis < 0 ? axis + features.rank : axis;
  if (at === features.rank - 1) return features;
  const axes = features.shape.map((_, i) => i).filter((i) => i !== at);
  return features.transpose([...axes, at]);
}

const CONVOLUTION_NODES = [
  ...['Conv2D', 'DepthwiseConv2dNative', '_FusedConv2D', 'FusedDepthwiseConv2dNative'],
];

/**
 * A graph model, seen at the outputs of its convolutions: converters fold batch norms and their statistics into these.
 */
export function graphNetwork(
  model: tf.GraphModel,
  { artifacts }: { readonly artifacts: tf.io.ModelArtifacts },
  { index }: ModelOutput,
): RawNetwork {
  const topology = artifacts.modelTopology as {
    readonly node?: readonly { readonly name: string; readonly op: string }[];
  };
  const nodes = (topology.node ?? []).filter(({ op }) => CONVOLUTION_NODES.includes(op));
  const taps = nodes.map(({ name }) => name);
  const output = model.outputs[index].name;
  return {
    taps,
    stored: () => undefined,
    run(input, tap) {
      const found = model.execute(input, [output, ...taps]);
      const [logits, ...features] = Array.isArray(found) ? found : [found];
      for (const [i, feature] of features.entries()) tap(taps[i], feature);
      return logits;
    },
  };
}
