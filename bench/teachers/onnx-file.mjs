// Writes a ConvNet as an ONNX file: the protocol buffers of onnx.proto, opset 17, by hand.
const FLOAT = 1;

/** Bytes of an ONNX model that computes the network's logits from images [batch, 3, size, size]. */
export function onnxFile({ inputSize, widths, blocks, classes }, parameters) {
  const nodes = [];
  const initializers = [];
  const tensor = (name, shape, values) => {
    initializers.push(tensorProto(name, shape, values));
    return name;
  };
  const vector = (name) => {
    const { shape, values } = parameters.get(name);
    return tensor(name, shape, values);
  };
  let counter = 0;
  const add = (type, inputs, attributes = {}) => {
    const output = `${type.toLowerCase()}${counter++}`;
    nodes.push(nodeProto(type, inputs, output, attributes));
    return output;
  };
  const convNorm = (x, name, stride) => {
    const { shape, values } = parameters.get(`${name}.kernel`);
    const [size, , from, to] = shape;
    const kernel = tensor(`${name}.kernel`, [to, from, size, size], outputFirst(shape, values));
    // TensorFlow's "same": for 4 at stride 2 and 3 at stride 1 one pixel on every side.
    const y = add('Conv', [x, kernel], { strides: [stride, stride], pads: [1, 1, 1, 1] });
    const norm = ['gamma', 'beta', 'mean', 'variance'].map((part) => vector(`${name}.${part}`));
    return add('BatchNormalization', [y, ...norm], { epsilon: 1e-5 });
  };
  let x = 'images';
  for (const [stage, count] of blocks.entries()) {
    x = add('Relu', [convNorm(x, `stage${stage}`, 2)]);
    for (let block = 0; block < count; block++) {
      const name = `stage${stage}.block${block}`;
      const inner = add('Relu', [convNorm(x, `${name}.a`, 1)]);
      x = add('Relu', [add('Add', [x, convNorm(inner, `${name}.b`, 1)])]);
    }
  }
  const features = add('Flatten', [add('GlobalAveragePool', [x])]);
  const output = add('Gemm', [features, vector('head.kernel'), vector('head.bias')]);
  if (widths.length !== blocks.length) throw new Error('not a network');
  const graph = [
    ...nodes.map((node) => message(1, node)),
    text(2, 'convnet'),
    ...initializers.map((value) => message(5, value)),
    message(11, valueInfo('images', ['batch', 3, inputSize, inputSize])),
    message(12, valueInfo(output, ['batch', classes])),
  ];
  const opset = Buffer.concat([text(1, ''), integer(2, 17)]);
  return Buffer.concat([integer(1, 8), message(8, opset), message(7, Buffer.concat(graph))]);
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

function tensorProto(name, shape, values) {
  const data = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  return Buffer.concat([
    ...shape.map((length) => integer(1, length)),
    integer(2, FLOAT),
    text(8, name),
    message(9, data),
  ]);
}

function nodeProto(type, inputs, output, attributes) {
  return Buffer.concat([
    ...inputs.map((name) => text(1, name)),
    text(2, output),
    text(4, type),
    ...Object.entries(attributes).map(([name, value]) => message(5, attribute(name, value))),
  ]);
}

function attribute(name, value) {
  if (Array.isArray(value)) {
    return Buffer.concat([text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7)]);
  }
  const single = Buffer.alloc(5);
  single[0] = (2 << 3) | 5;
  single.writeFloatLE(value, 1);
  return Buffer.concat([text(1, name), single, integer(20, 1)]);
}

function valueInfo(name, shape) {
  const axis = (length) => (typeof length === 'string' ? text(2, length) : integer(1, length));
  const axes = Buffer.concat(shape.map((length) => message(1, axis(length))));
  const type = Buffer.concat([integer(1, FLOAT), message(2, axes)]);
  return Buffer.concat([text(1, name), message(2, message(1, type))]);
}

function varint(value) {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}

const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const message = (field, bytes) =>
  Buffer.concat([varint((field << 3) | 2), varint(bytes.length), bytes]);
const text = (field, value) => message(field, Buffer.from(value));
