import { argument } from './check.js';

/** Checks of typed arrays given as arguments. All accept arrays of other realms (`vm` contexts, Jest's globals). */

interface TypedArrays {
  readonly Float32Array: Float32Array;
  readonly Float64Array: Float64Array;
  readonly Int8Array: Int8Array;
  readonly Int16Array: Int16Array;
  readonly Int32Array: Int32Array;
  readonly Uint32Array: Uint32Array;
  readonly Uint16Array: Uint16Array;
  readonly Uint8Array: Uint8Array;
}

/** Reads the internal slot, which neither subclasses nor own properties can change. */
const tagGetter = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)?.get;

/** `Float32Array` and so on for a typed array (a Buffer is a `Uint8Array`), else undefined. */
function typedArrayName(value: unknown): string | undefined {
  return tagGetter?.call(value);
}

export function isTypedArray<Name extends keyof TypedArrays>(
  value: unknown,
  name: Name,
): value is TypedArrays[Name] {
  return typedArrayName(value) === name;
}

/** A typed array of the given kind, and of `length` elements if that is given. */
export function typedArray<Name extends keyof TypedArrays>(
  field: string,
  value: unknown,
  name: Name,
  length?: number,
): TypedArrays[Name] {
  argument.that(isTypedArray(value, name), value, field, `a ${name}`);
  const array = value as TypedArrays[Name];
  // Another thread, or a callback, could take the memory away during an asynchronous call.
  const { resizable } = array.buffer as { readonly resizable?: boolean };
  argument.that(resizable !== true, 'a resizable one', field, 'a buffer of fixed length');
  if (length !== undefined && array.length !== length) {
    argument.fail(field, 'wrong length', length, array.length);
  }
  return array;
}

export function floats(field: string, value: unknown, length?: number): Float32Array {
  return typedArray(field, value, 'Float32Array', length);
}

/** Throws if an output shares bytes with an input: kernels read inputs again after writing. */
export function apart(
  field: string,
  out: ArrayBufferView,
  inputs: Readonly<Record<string, ArrayBufferView>>,
): void {
  for (const [name, input] of Object.entries(inputs)) {
    const overlaps =
      out.buffer === input.buffer &&
      out.byteOffset < input.byteOffset + input.byteLength &&
      input.byteOffset < out.byteOffset + out.byteLength;
    if (overlaps) argument.fail(field, `overlaps ${name}`, 'separate memory', 'shared bytes');
  }
}
