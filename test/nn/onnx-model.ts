/** Writes ONNX files by hand: protocol buffers of onnx.proto, opset 17. */

/** Element types of TensorProto. */
export const TYPES = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  float16: 10,
  float64: 11,
} as const;
export type TypeName = keyof typeof TYPES;

export interface Value {
  readonly name: string;
  readonly type: TypeName;
  readonly shape: readonly (number | string)[];
}

export interface Weights {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | BigInt64Array;
  /** The file that has the values; default: the model itself. */
  readonly location?: string;
}

export interface Node {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly output: string;
  /** Whole numbers. */
  readonly attributes?: Readonly<Record<string, number>>;
}

export interface OnnxModel {
  readonly nodes: readonly Node[];
  readonly weights: readonly Weights[];
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

export function encodeOnnx({ nodes, weights, inputs, outputs }: OnnxModel): Buffer {
  const graph = [
    ...nodes.map((node) => message(1, encodeNode(node))),
    text(2, 'graph'),
    ...weights.map((value) => message(5, encodeTensor(value))),
    ...inputs.map((value) => message(11, encodeValue(value))),
    ...outputs.map((value) => message(12, encodeValue(value))),
  ];
  const opset = Buffer.concat([text(1, ''), integer(2, 17)]);
  return Buffer.concat([integer(1, 8), message(7, Buffer.concat(graph)), message(8, opset)]);
}

function encodeTensor({ name, shape, values, location }: Weights): Buffer {
  const data = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const entry = (key: string, value: string) =>
    message(13, Buffer.concat([text(1, key), text(2, value)]));
  return Buffer.concat([
    ...shape.map((length) => integer(1, length)),
    integer(2, values instanceof Float32Array ? TYPES.float32 : TYPES.int64),
    text(8, name),
    ...(location === undefined
      ? [message(9, data)]
      : [entry('location', location), entry('length', String(data.length)), integer(14, 1)]),
  ]);
}

function encodeNode({ type, inputs, output, attributes = {} }: Node): Buffer {
  return Buffer.concat([
    ...inputs.map((name) => text(1, name)),
    text(2, output),
    text(4, type),
    ...Object.entries(attributes).map(([name, value]) =>
      message(5, Buffer.concat([text(1, name), integer(3, value), integer(20, 2)])),
    ),
  ]);
}

function encodeValue({ name, type, shape }: Value): Buffer {
  const axis = (length: number | string) =>
    typeof length === 'string' ? text(2, length) : integer(1, length);
  const axes = Buffer.concat(shape.map((length) => message(1, axis(length))));
  const tensor = Buffer.concat([integer(1, TYPES[type]), message(2, axes)]);
  return Buffer.concat([text(1, name), message(2, message(1, tensor))]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

const integer = (field: number, value: number) => Buffer.concat([varint(field * 8), varint(value)]);
const message = (field: number, bytes: Buffer) =>
  Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
const text = (field: number, value: string) => message(field, Buffer.from(value));
