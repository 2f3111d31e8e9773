// Writes ONNX models: the few fields of onnx.proto3 that a plain graph needs.

const VARINT = 0;
const BYTES = 2;
const OPSET = 17;
const IR_VERSION = 8;
/** TensorProto.DataType. */
const DTYPES = { float32: 1, int32: 6, int64: 7 };
/** AttributeProto.AttributeType. */
const [FLOAT, INT] = [1, 2];

/**
 * Bytes of a model. `nodes`: { op, inputs, output, attributes }; `constants`: { name: { dtype, dims, data } };
 * `inputs` and `outputs`: { name: { dtype, dims } }, where a dimension may be a name.
 */
export function onnxModel({ nodes, constants, inputs, outputs }) {
  const graph = [
    ...nodes.map((node) => message(1, nodeProto(node))),
    text(2, 'graph'),
    ...Object.entries(constants).map(([name, tensor]) => message(5, tensorProto(name, tensor))),
    ...Object.entries(inputs).map(([name, value]) => message(11, valueInfo(name, value))),
    ...Object.entries(outputs).map(([name, value]) => message(12, valueInfo(name, value))),
  ];
  const opset = [text(1, ''), integer(2, OPSET)];
  return Buffer.concat([integer(1, IR_VERSION), message(8, opset), message(7, graph)]);
}

function nodeProto({ op, inputs, output, attributes = {} }) {
  return [
    ...inputs.map((name) => text(1, name)),
    text(2, output),
    text(4, op),
    ...Object.entries(attributes).map(([name, value]) => message(5, attribute(name, value))),
  ];
}

function attribute(name, value) {
  if (typeof value === 'bigint') return [text(1, name), integer(3, value), integer(20, INT)];
  const float = Buffer.alloc(5);
  float[0] = (2 << 3) | 5;
  float.writeFloatLE(value, 1);
  return [text(1, name), float, integer(20, FLOAT)];
}

function tensorProto(name, { dtype, dims, data }) {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return [
    ...dims.map((dim) => integer(1, dim)),
    integer(2, DTYPES[dtype]),
    text(8, name),
    field(9, raw),
  ];
}

function valueInfo(name, { dtype, dims }) {
  const shape = dims.map((dim) =>
    message(1, [typeof dim === 'string' ? text(2, dim) : integer(1, dim)]),
  );
  const tensor = [integer(1, DTYPES[dtype]), message(2, shape)];
  return [text(1, name), message(2, [message(1, tensor)])];
}

function message(number, parts) {
  return field(number, Buffer.concat(parts));
}

function text(number, value) {
  return field(number, Buffer.from(value));
}

function field(number, bytes) {
  return Buffer.concat([varint((number << 3) | BYTES), varint(bytes.length), bytes]);
}

function integer(number, value) {
  return Buffer.concat([varint((number << 3) | VARINT), varint(value)]);
}

function varint(value) {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes = [];
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
