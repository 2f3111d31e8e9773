import { readNumber } from './numbers.js';
import {
  describeValue,
  NUMBER_BYTES,
  type NumberType,
  NumpyArray,
  NumpyDtype,
  PickleDict,
  PickleGlobal,
  PickleTuple,
  type PickleValue,
  TorchStorage,
  TorchTensor,
} from './values.js';
import { viewOf } from './zip.js';

/** What the conversions below need of the machine that reads the pickle. */
export interface PickleContext {
  fail(message: string, expected?: unknown, found?: unknown): never;
  /** Counts bytes made of text, whose number is bounded. */
  requireRoomFor(bytes: number): void;
}

type Arguments = readonly PickleValue[];
type Conversion = (args: Arguments, context: PickleContext) => PickleValue;

const STORAGES: Readonly<Record<string, NumberType>> = {
  'torch.DoubleStorage': 'F64',
  'torch.FloatStorage': 'F32',
  'torch.HalfStorage': 'F16',
  'torch.BFloat16Storage': 'BF16',
  'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32',
  'torch.ShortStorage': 'I16',
  'torch.CharStorage': 'I8',
  'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL',
  // Bytes: the tensor says what they are.
  'torch.storage.UntypedStorage': 'U8',
};

/** Types of tensors over untyped storages. */
const TORCH_TYPES: Readonly<Record<string, NumberType>> = { 'torch.uint16': 'U16' };

const NUMPY_TYPES: Readonly<Record<string, NumberType>> = {
  f8: 'F64',
  f4: 'F32',
  f2: 'F16',
  i8: 'I64',
  i4: 'I32',
  i2: 'I16',
  i1: 'I8',
  u1: 'U8',
  b1: 'BOOL',
};

const MAX_DIMENSIONS = 16;

const CONVERSIONS: ReadonlyMap<string, Conversion> = new Map<string, Conversion>([
  ['torch._utils._rebuild_tensor_v2', rebuildTensor],
  ['torch._utils._rebuild_tensor_v3', rebuildTyped],
  ['torch._utils._rebuild_parameter', rebuildParameter],
  ['collections.OrderedDict', orderedDict],
  ['numpy.core.multiarray.scalar', numpyScalar],
  ['numpy._core.multiarray.scalar', numpyScalar],
  ['numpy.core.multiarray._reconstruct', numpyArray],
  ['numpy._core.multiarray._reconstruct', numpyArray],
  ['numpy.dtype', numpyDtype],
  ['_codecs.encode', encode],
  ['__builtin__.bytes', emptyBytes],
]);

/** The only names that a torch file may use. */
export function isAllowed(name: string): boolean {
  const types = [STORAGES, TORCH_TYPES].some((known) => Object.hasOwn(known, name));
  return CONVERSIONS.has(name) || types || name === 'numpy.ndarray';
}

/** The data that a name and its arguments stand for. */
export function applyGlobal(name: string, args: Arguments, context: PickleContext): PickleValue {
  const conversion = CONVERSIONS.get(name);
  return conversion?.(args, context) ?? context.fail('name cannot be applied', undefined, name);
}

/** Completes a numpy type or array; the attributes of an ordered dict (a state_dict's versions) are not kept. */
export function applyState(target: PickleValue, state: PickleValue, context: PickleContext): void {
  if (target instanceof NumpyDtype && state instanceof PickleTuple) {
    const order = state.items[1];
    const little = order === '<' || order === '|';
    if (!little) context.fail('wrong byte order', '< or |', describeValue(order));
    target.ready = true;
  } else if (target instanceof NumpyArray && state instanceof PickleTuple) {
    fillArray(target, state.items, context);
  } else if (!(target instanceof PickleDict && state instanceof PickleDict)) {
    context.fail('state does not fit', 'a numpy type or array', describeValue(target));
  }
}

/** `('storage', type, key, location, count)`; older files add None for a view. */
export function storageOf(id: Arguments, context: PickleContext): TorchStorage {
  const [tag, type, key, location, count, view = null] = id;
  const dtype = type instanceof PickleGlobal ? STORAGES[type.name] : undefined;
  const valid =
    tag === 'storage' && typeof key === 'string' && typeof location === 'string' && view === null;
  if (!valid || key.length > 64 || dtype === undefined || id.length > 6) {
    const expected = "('storage', type, key, location, count)";
    return context.fail('not a storage', expected, id.map(describeValue).join(', '));
  }
  const size = whole(count, 'count of a storage', context);
  return new TorchStorage(dtype, key, size);
}

function rebuildTensor(args: Arguments, context: PickleContext): TorchTensor {
  const [storage, offset, size, stride] = args;
  if (!(storage instanceof TorchStorage) || args.length < 6 || args.length > 7) {
    return context.fail('not a tensor', 'a storage and 5 more', args.map(describeValue).join(', '));
  }
  const shape = wholes(size, 'shape', context);
  const steps = wholes(stride, 'stride', context);
  const first = whole(offset, 'offset', context);
  if (shape.length !== steps.length) context.fail('wrong stride', shape.length, steps.length);
  const empty = shape.includes(0);
  const last = shape.reduce((at, length, i) => at + (length - 1) * steps[i], first);
  if (!empty && !(last < storage.count)) {
    context.fail('tensor reaches beyond its storage', `index < ${storage.count}`, last);
  }
  const numbers = shape.reduce((a, b) => a * b, 1);
  if (numbers > storage.count) {
    context.fail('tensor repeats its storage', `at most ${storage.count} elements`, numbers);
  }
  return new TorchTensor(storage, first, shape, steps);
}

/** Tensors of types that came after typed storages: bytes, and the type as the last of 7 arguments. */
function rebuildTyped(args: Arguments, context: PickleContext): TorchTensor {
  const [bytes, ...rest] = args;
  const type = rest[5];
  const dtype = type instanceof PickleGlobal ? TORCH_TYPES[type.name] : undefined;
  const untyped = bytes instanceof TorchStorage && bytes.dtype === 'U8';
  if (!untyped || dtype === undefined || args.length < 7 || args.length > 8) {
    const expected = `bytes, 5 more, ${Object.keys(TORCH_TYPES).join(' or ')}`;
    return context.fail('not a tensor', expected, args.map(describeValue).join(', '));
  }
  const count = Math.floor(bytes.count / NUMBER_BYTES[dtype]);
  const storage = new TorchStorage(dtype, bytes.key, count);
  return rebuildTensor([storage, ...rest.slice(0, 5)], context);
}

function rebuildParameter(args: Arguments, context: PickleContext): TorchTensor {
  const [tensor] = args;
  if (tensor instanceof TorchTensor && args.length === 3) return tensor;
  return context.fail('not a parameter', 'a tensor and 2 more', args.map(describeValue).join(', '));
}

function orderedDict(args: Arguments, context: PickleContext): PickleDict {
  if (args.length > 0) context.fail('ordered dict has arguments', 0, args.length);
  return new PickleDict();
}

function numpyDtype([name]: Arguments, context: PickleContext): NumpyDtype {
  const dtype = typeof name === 'string' ? NUMPY_TYPES[name] : undefined;
  if (dtype !== undefined) return new NumpyDtype(dtype);
  const expected = Object.keys(NUMPY_TYPES).join(', ');
  return context.fail('unknown numpy type', expected, describeValue(name));
}

function numpyScalar([type, data]: Arguments, context: PickleContext): PickleValue {
  const valid = type instanceof NumpyDtype && type.ready && data instanceof Uint8Array;
  if (!valid || data.length !== NUMBER_BYTES[type.dtype]) {
    return context.fail('not a numpy number', 'a type and its bytes', describeValue(data));
  }
  return readNumber(type.dtype, viewOf(data), 0);
}

function numpyArray([type, shape]: Arguments, context: PickleContext): NumpyArray {
  const plain = type instanceof PickleGlobal && type.name === 'numpy.ndarray';
  if (plain && shape instanceof PickleTuple) return new NumpyArray();
  return context.fail('not a numpy array', 'numpy.ndarray and a shape', describeValue(type));
}

function fillArray(array: NumpyArray, state: Arguments, context: PickleContext): void {
  const [, size, type, fortran, data] = state;
  const shape = wholes(size, 'shape', context);
  if (!(type instanceof NumpyDtype && type.ready && data instanceof Uint8Array)) {
    context.fail('not the state of an array', 'a type and bytes', describeValue(type));
  }
  if (fortran !== false)
    context.fail('wrong order', 'rows first (C order)', describeValue(fortran));
  const bytes = shape.reduce((a, b) => a * b, NUMBER_BYTES[type.dtype]);
  if (bytes !== data.length) context.fail('array does not fit its bytes', bytes, data.length);
  array.dtype = type.dtype;
  array.shape = shape;
  array.data = data;
}

function encode([text, encoding]: Arguments, context: PickleContext): Uint8Array {
  if (typeof text !== 'string' || encoding !== 'latin1') {
    return context.fail(
      'not bytes',
      'text and latin1',
      `${describeValue(text)}, ${describeValue(encoding)}`,
    );
  }
  context.requireRoomFor(text.length);
  const bytes = Buffer.from(text, 'latin1');
  const exact = !/[\u0100-\uffff]/.test(text);
  return exact ? new Uint8Array(bytes) : context.fail('text is not latin1');
}

function emptyBytes(args: Arguments, context: PickleContext): Uint8Array {
  if (args.length > 0) context.fail('bytes have arguments', 0, args.length);
  return new Uint8Array();
}

function whole(value: PickleValue | undefined, field: string, context: PickleContext): number {
  const valid = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
  return valid ? value : context.fail(`wrong ${field}`, 'a whole number', describeValue(value));
}

function wholes(value: PickleValue | undefined, field: string, context: PickleContext): number[] {
  if (value instanceof PickleTuple && value.items.length <= MAX_DIMENSIONS) {
    return value.items.map((item) => whole(item, field, context));
  }
  return context.fail(`wrong ${field}`, `at most ${MAX_DIMENSIONS} numbers`, describeValue(value));
}
