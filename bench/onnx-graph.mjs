// Writes ONNX files: the protocol buffers of onnx.proto, opset 17, by hand.
const FLOAT = 1;

/** A graph under construction: operators by the names of their outputs. */
export class OnnxGraph {
  #nodes = [];
  #initializers = [];

  /** Adds weights; returns their name. */
  tensor(name, shape, values) {
    this.#initializers.push(tensorProto(name, shape, values));
    return name;
  }

  /** Adds an operator; returns the name of its output. */
  add(type, inputs, attributes = {}) {
    const output = `${type.toLowerCase()}${this.#nodes.length}`;
    this.#nodes.push(nodeProto(type, inputs, output, attributes));
    return output;
  }

  /** The file, of a model with one input and one output; axes may have names in place of lengths. */
  file(name, input, output) {
    const graph = [
      ...this.#nodes.map((node) => message(1, node)),
      text(2, name),
      ...this.#initializers.map((value) => message(5, value)),
      message(11, valueInfo(...input)),
      message(12, valueInfo(...output)),
    ];
    const opset = Buffer.concat([text(1, ''), integer(2, 17)]);
    return Buffer.concat([integer(1, 8), message(8, opset), message(7, Buffer.concat(graph))]);
  }
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

/** Whole numbers are given as `{ integer }`: others are floating point. */
function attribute(name, value) {
  if (Array.isArray(value)) {
    return Buffer.concat([text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7)]);
  }
  if (typeof value === 'string') {
    return Buffer.concat([text(1, name), text(4, value), integer(20, 3)]);
  }
  if (typeof value === 'object') {
    return Buffer.concat([text(1, name), integer(3, value.integer), integer(20, 2)]);
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
