import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { allocate, allocateShared } from '#src/core/allocate.js';
import { apart, floats, typedArray } from '#src/core/arrays.js';
import { SoftpackError } from '#src/errors.js';

function codeOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof SoftpackError) return error.code;
    throw error;
  }
  return undefined;
}

describe('typed arrays as arguments', () => {
  it('may come from another realm', () => {
    const far = runInNewContext('new Float32Array([1, 2])');
    expect(far).not.toBeInstanceOf(Float32Array);
    expect(floats('a', far, 2)).toBe(far);
  });

  it('may be subclasses, Buffers and views of shared memory', () => {
    class Own extends Uint8Array {}
    for (const array of [new Own(2), Buffer.alloc(2), new Uint8Array(new SharedArrayBuffer(2))]) {
      expect(typedArray('a', array, 'Uint8Array', 2)).toBe(array);
    }
  });

  const lying = Object.defineProperty(new Uint16Array(2), Symbol.toStringTag, {
    value: 'Float32Array',
  });
  it.each([
    ['nothing', undefined],
    ['null', null],
    ['a list', [1, 2]],
    ['another type', new Float64Array(2)],
    ['another type that says otherwise', lying],
    ['an object that says otherwise', { [Symbol.toStringTag]: 'Float32Array', length: 2 }],
    ['a proxy', new Proxy(new Float32Array(2), {})],
    ['a DataView', new DataView(new ArrayBuffer(8))],
    ['another length', new Float32Array(3)],
    ['a view of a detached buffer', detached()],
    ['a view of a resizable buffer', resizable()],
  ])('are refused: %s', (_, value) => {
    expect(codeOf(() => floats('a', value, 2))).toBe('INVALID_ARGUMENT');
  });

  it('must not overlap as output and input', () => {
    const memory = new Float32Array(8);
    expect(codeOf(() => apart('out', memory.subarray(0, 4), { a: memory.subarray(3) }))).toBe(
      'INVALID_ARGUMENT',
    );
    expect(codeOf(() => apart('out', memory.subarray(0, 4), { a: memory.subarray(4) }))).toBe(
      undefined,
    );
  });
});

function detached(): Float32Array {
  const array = new Float32Array(2);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

function resizable(): Float32Array {
  const buffer = Reflect.construct(ArrayBuffer, [8, { maxByteLength: 16 }]) as ArrayBuffer;
  return new Float32Array(buffer, 0, 2);
}

describe.each([
  ['allocate', allocate],
  ['allocateShared', allocateShared],
] as const)('%s', (_, make) => {
  it('gives zeroed memory', () => {
    expect([...new Uint8Array(make(3, 'labels'))]).toEqual([0, 0, 0]);
  });

  it.each([2 ** 52, Number.MAX_SAFE_INTEGER])('refuses %d bytes', (bytes) => {
    expect(codeOf(() => make(bytes, 'labels'))).toBe('OUT_OF_MEMORY');
  });

  it('keeps to a smaller limit', () => {
    expect(codeOf(() => make(5, 'labels', 4))).toBe('OUT_OF_MEMORY');
  });

  it.each([-1, Number.NaN, 1.5, Infinity])('refuses %d as a size', (bytes) => {
    expect(codeOf(() => make(bytes, 'labels'))).toBe('INVALID_ARGUMENT');
  });
});
