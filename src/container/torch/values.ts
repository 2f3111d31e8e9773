/** Values that a torch file can hold. Plain data only: reading a file never runs anything that it names. */

export type PickleValue =
  | null
  | boolean
  | number
  /** Integers beyond 2^53. */
  | bigint
  | string
  | Uint8Array
  | readonly PickleValue[]
  | PickleTuple
  | PickleDict
  | PickleGlobal
  | NumpyDtype
  | NumpyArray
  | TorchStorage
  | TorchTensor;

export class PickleTuple {
  readonly items: readonly PickleValue[];

  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

/** A dict: keys are strings and numbers; a Map, so that no key can touch a prototype. */
export class PickleDict extends Map<string | number, PickleValue> {}

/** An allowed name, e.g. `torch._utils._rebuild_tensor_v2`; stands for itself until it is applied. */
export class PickleGlobal {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

export type NumberType =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U8'
  | 'U16'
  | 'BOOL';

export const NUMBER_BYTES: Readonly<Record<NumberType, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  U16: 2,
  BOOL: 1,
};

export class NumpyDtype {
  readonly dtype: NumberType;
  /** Set by the state that follows; until then nothing may be read by this type. */
  ready = false;

  constructor(dtype: NumberType) {
    this.dtype = dtype;
  }
}

/** An array whose bytes are in the pickle itself, row-major, little-endian. */
export class NumpyArray {
  dtype: NumberType = 'U8';
  shape: readonly number[] = [0];
  data: Uint8Array = new Uint8Array();
}

/** A run of numbers of one type in the file. */
export class TorchStorage {
  readonly dtype: NumberType;
  readonly key: string;
  /** Numbers. */
  readonly count: number;

  constructor(dtype: NumberType, key: string, count: number) {
    this.dtype = dtype;
    this.key = key;
    this.count = count;
  }
}

/** A view of a storage; every index lies inside of it. */
export class TorchTensor {
  readonly storage: TorchStorage;
  /** First element. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** Elements. */
  readonly stride: readonly number[];

  constructor(
    storage: TorchStorage,
    offset: number,
    shape: readonly number[],
    stride: readonly number[],
  ) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.stride = stride;
  }

  get dtype(): NumberType {
    return this.storage.dtype;
  }
}

/** A short description of any value, for errors. */
export function describeValue(value: PickleValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'None';
  if (value instanceof TorchTensor) return `tensor ${value.dtype} [${value.shape}]`;
  if (value instanceof NumpyArray) return `array ${value.dtype} [${value.shape}]`;
  if (value instanceof TorchStorage) return `storage ${value.dtype} of ${value.count}`;
  if (value instanceof PickleTuple) return `tuple of ${value.items.length}`;
  if (value instanceof PickleDict) return `dict of ${value.size}`;
  if (value instanceof PickleGlobal) return value.name;
  if (value instanceof NumpyDtype) return `dtype ${value.dtype}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `list of ${value.length}`;
  return typeof value === 'string' ? `text '${value.slice(0, 40)}'` : String(value);
}
