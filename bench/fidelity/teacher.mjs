// EfficientNet-Lite0 as an ONNX file, from the weights that a package contains.
import { writeFile } from 'node:fs/promises';
import { openTorchFile } from '#src/container/torch/open.js';
import { stateDictOf } from '#src/container/torch/state-dict.js';
import { OnnxGraph } from '../onnx-graph.mjs';

/** Blocks, kernel, stride, expansion and channels of each stage. */
const STAGES = [
  [1, 3, 1, 1, 16],
  [2, 3, 2, 6, 24],
  [2, 5, 2, 6, 40],
  [3, 3, 2, 6, 80],
  [3, 5, 1, 6, 112],
  [4, 5, 2, 6, 192],
  [1, 3, 1, 6, 320],
];
const CLASSES = 1000;

/** @param size side of the images, pixels; trained with 224. */
export async function writeTeacher(weights, size, out) {
  const file = await openTorchFile(weights);
  try {
    const tensors = stateDictOf(file);
    const names = [...tensors.keys()].filter((name) => !name.endsWith('num_batches_tracked'));
    const values = new Map();
    for (const name of names) {
      const bytes = await file.read(tensors.get(name));
      const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      values.set(name, { shape: tensors.get(name).shape, values: floats });
    }
    await writeFile(out, networkFile(values, size));
  } finally {
    await file.close();
  }
}

function networkFile(parameters, size) {
  const graph = new OnnxGraph();
  const weight = (name) => {
    const { shape, values } = parameters.get(name);
    return graph.tensor(name, shape, values);
  };
  const clip = [
    graph.tensor('zero', [], Float32Array.of(0)),
    graph.tensor('six', [], Float32Array.of(6)),
  ];
  const conv = (x, name, norm, attributes = {}) => {
    const kernel = weight(`${name}.weight`);
    const y = graph.add('Conv', [x, kernel], { auto_pad: 'SAME_UPPER', ...attributes });
    const parts = ['weight', 'bias', 'running_mean', 'running_var'];
    const own = parts.map((part) => weight(`${norm}.${part}`));
    return graph.add('BatchNormalization', [y, ...own], { epsilon: 1e-3 });
  };
  const relu6 = (x) => graph.add('Clip', [x, ...clip]);
  let x = relu6(conv('images', '_conv_stem', '_bn0', { strides: [2, 2] }));
  let [channels, block] = [32, 0];
  for (const [repeats, , stride, expansion, to] of STAGES) {
    for (let i = 0; i < repeats; i++, block++) {
      const name = `_blocks.${block}`;
      const inner = channels * expansion;
      const step = i === 0 ? stride : 1;
      let y = x;
      if (expansion > 1) y = relu6(conv(y, `${name}._expand_conv`, `${name}._bn0`));
      const deep = { strides: [step, step], group: { integer: inner } };
      y = relu6(conv(y, `${name}._depthwise_conv`, `${name}._bn1`, deep));
      y = conv(y, `${name}._project_conv`, `${name}._bn2`);
      x = step === 1 && channels === to ? graph.add('Add', [y, x]) : y;
      channels = to;
    }
  }
  x = relu6(conv(x, '_conv_head', '_bn1'));
  x = graph.add('Flatten', [graph.add('GlobalAveragePool', [x])]);
  const output = graph.add('Gemm', [x, weight('_fc.weight'), weight('_fc.bias')], {
    transB: { integer: 1 },
  });
  const images = ['images', ['batch', 3, size, size]];
  return graph.file('efficientnet-lite0', images, [output, ['batch', CLASSES]]);
}
