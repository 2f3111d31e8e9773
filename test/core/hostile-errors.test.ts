import { createContext, runInContext } from 'node:vm';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { RandomSequence } from '#src/core/random.js';
import {
  asError,
  type ErrorData,
  errorAt,
  errorFromData,
  errorMessage,
  errorName,
  errorToData,
  isSoftpackError,
  stackOf,
} from '#src/errors.js';
import { fileError } from '#src/store/file-error.js';

/** Values that programs may throw, in every combination of the ways in which reading them can fail. */

const random = new RandomSequence(5, 2);
const pick = <T>(items: readonly T[]): T => items[random.below(items.length)];
const realm = createContext({});

const refuse = () => {
  throw new RangeError('not for you');
};
const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const leaves: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => Symbol('s'),
  () => 10n ** 400n,
  () => Number.NaN,
  () => '\ud800\u001b[2J',
  () => 'x'.repeat(1 << 20),
  () => refuse,
  () => class {},
  () => new Date(Number.NaN),
  () => new WeakMap(),
  () => new Uint8Array(4),
  () => Promise.resolve(),
  () => runInContext('new Uint32Array(2)', realm),
  () => runInContext('Object.create(null)', realm),
  revoked,
];
const bodies: readonly (() => object)[] = [
  () => ({}),
  () => Object.create(null),
  () => [],
  () => new Error('plain'),
  () => new AggregateError([new Error('inner')], 'several'),
  () => runInContext('new TypeError("far")', realm),
  () => runInContext('({})', realm),
  () => new (class extends Error {})('own'),
  () => Object.freeze(new Error('frozen')),
];
const NAMES = ['name', 'code', 'message', 'stack', 'field', 'expected', 'found', 'cause', 'length'];
const TRAPS = ['get', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor'] as const;

function hostileValue(depth = 0): unknown {
  if (depth > 2 || random.below(4) === 0) return pick(leaves)();
  const body = pick(bodies)();
  for (const name of NAMES) {
    const kind = random.below(8);
    try {
      if (kind === 0) Object.defineProperty(body, name, { get: refuse, enumerable: true });
      if (kind === 1) Reflect.set(body, name, hostileValue(depth + 1));
      if (kind === 2) Reflect.set(body, name, body);
      if (kind === 3) Reflect.set(body, name, name === 'name' ? 'SoftpackError' : 'NOT_FOUND');
    } catch {
      // A frozen body, or an array's length, stays as it is.
    }
  }
  if (random.below(4) === 0) Reflect.set(body, Symbol.toStringTag, pick(leaves)());
  if (random.below(4) === 0) Reflect.set(body, 'toString', pick(leaves)());
  if (random.below(4) === 0) return new Proxy(body, { [pick(TRAPS)]: refuse });
  return body;
}

const { port1, port2 } = new MessageChannel();

function sent(data: ErrorData): ErrorData {
  port1.postMessage(data);
  return receiveMessageOnPort(port2)?.message;
}

describe('whatever is thrown', () => {
  it('becomes data that a thread can send, and a typed error on the other side', () => {
    for (let i = 0; i < 4000; i++) {
      const thrown = hostileValue();
      const error = errorFromData(sent(errorToData(thrown)));
      expect(isSoftpackError(error)).toBe(true);
      expect(typeof error.code).toBe('string');
      expect(typeof error.message).toBe('string');
      expect(['string', 'undefined']).toContain(typeof error.field);
    }
  });

  it('has a name, a message, a stack or none, and can be given a place', () => {
    for (let i = 0; i < 4000; i++) {
      const thrown = hostileValue();
      expect(typeof errorMessage(thrown)).toBe('string');
      expect(typeof errorName(thrown)).toBe('string');
      expect(['string', 'undefined']).toContain(typeof stackOf(thrown));
      const located = errorAt('file', thrown);
      if (isSoftpackError(thrown)) expect(errorMessage(located)).toContain('file: ');
      else expect(Object.is(located, thrown)).toBe(true);
      expect(() => fileError('file', thrown)).not.toThrow();
      // Nothing that is no error passes for one: streams would end without a word.
      expect(typeof asError(thrown).message).toBe('string');
    }
  });
});

it('an error of the library keeps all it says, also with a cause that leads back to it', () => {
  const cause: { cause?: unknown } = new Error('inner');
  cause.cause = cause;
  const data = sent(
    errorToData(
      Object.assign(new Error('rows are missing'), {
        ...{ name: 'SoftpackError', code: 'INCOMPLETE', field: 'rows', expected: 3 },
        ...{ found: new Float32Array(2), cause },
      }),
    ),
  );
  expect(data).toMatchObject({ code: 'INCOMPLETE', message: 'rows are missing', field: 'rows' });
  expect(data).toMatchObject({ expected: '3', found: 'Float32Array(2)' });
});
