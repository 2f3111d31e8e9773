// Writes a ConvNet as an ONNX file.
import { OnnxGraph } from '../onnx-graph.mjs';

/** Bytes of an ONNX model that computes the network's logits from images [batch, 3, size, size]. */
export function onnxFile({ inputSize, widths, blocks, classes }, parameters) {
  const graph = new OnnxGraph();
  const vector = (name) => {
    const { shape, values } = parameters.get(name);
    return graph.tensor(name, shape, values);
  };
  const convNorm = (x, name, stride) => {
    const { shape, values } = parameters.get(`${name}.kernel`);
    const [size, , from, to] = shape;
    const kernel = graph.tensor(
      `${name}.kernel`,
      [to, from, size, size],
      outputFirst(shape, values),
    );
    // TensorFlow's "same": for 4 at stride 2 and 3 at stride 1 one pixel on every side.
    const y = graph.add('Conv', [x, kernel], { strides: [stride, stride], pads: [1, 1, 1, 1] });
    const norm = ['gamma', 'beta', 'mean', 'variance'].map((part) => vector(`${name}.${part}`));
    return graph.add('BatchNormalization', [y, ...norm], { epsilon: 1e-5 });
  };
  let x = 'images';
  for (const [stage, count] of blocks.entries()) {
    x = graph.add('Relu', [convNorm(x, `stage${stage}`, 2)]);
    for (let block = 0; block < count; block++) {
      const name = `stage${stage}.block${block}`;
      const inner = graph.add('Relu', [convNorm(x, `${name}.a`, 1)]);
      x = graph.add('Relu', [graph.add('Add', [x, convNorm(inner, `${name}.b`, 1)])]);
    }
  }
  const features = graph.add('Flatten', [graph.add('GlobalAveragePool', [x])]);
  const head = [vector('head.kernel'), vector('head.bias')];
  const output = graph.add('Gemm', [features, ...head]);
  if (widths.length !== blocks.length) throw new Error('not a network');
  const images = ['images', ['batch', 3, inputSize, inputSize]];
  return graph.file('convnet', images, [output, ['batch', classes]]);
}

/** [height, width, in, out] to [out, in, height, width]. */
function outputFirst([height, width, from, to], values) {
  const moved = new Float32Array(values.length);
  const pixels = height * width;
  for (let p = 0; p < pixels; p++) {
    for (let i = 0; i < from; i++) {
      for (let o = 0; o < to; o++)
        moved[(o * from + i) * pixels + p] = values[(p * from + i) * to + o];
    }
  }
  return moved;
}
