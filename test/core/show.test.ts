import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { errorCode, errorMessage, errorToData, SoftpackError, show } from '#src/errors.js';

const revoked = Proxy.revocable({}, {});
revoked.revoke();

/** Values that `String()`, `JSON.stringify()` or reading a property throws for, and what is shown instead. */
const HOSTILE: readonly (readonly [name: string, value: unknown, shown: string])[] = [
  ['a toString that is no function', { toString: 1 }, '{"toString":1}'],
  ['no prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
  ['a symbol', Symbol('s'), 'Symbol(s)'],
  ['a bigint', 12n, '12n'],
  ['a bigint of many digits', 1n << 4096n, 'a large bigint'],
  ['a revoked proxy', revoked.proxy, 'a value that cannot be shown'],
  [
    'a getter that throws',
    Object.defineProperty({}, 'a', {
      enumerable: true,
      get: () => {
        throw new Error('no');
      },
    }),
    'a value that cannot be shown',
  ],
  ['an error without a message', Object.assign(new Error('x'), { message: 1 }), 'an error'],
  ['an error of another realm', runInNewContext('new RangeError("far")'), 'far'],
  ['a typed array', new Float32Array(1 << 20), 'Float32Array(1048576)'],
  ['a long list', new Array(1 << 20).fill(0), '[0,0,0,0,0,0,0,0,0,0,0,0,...]'],
  ['a map', new Map([[1, 2]]), 'Map'],
  ['null', null, 'null'],
  ['nothing', undefined, 'undefined'],
  ['a function', () => 1, 'a function'],
];

describe('a value in an error', () => {
  it.each(HOSTILE)('is shown: %s', (_, value, shown) => {
    expect(show(value)).toBe(shown);
    const error = new SoftpackError('INVALID_ARGUMENT', 'not valid', { field: 'f', found: value });
    if (value !== undefined) expect(error.message).toBe(`f: not valid (found ${shown})`);
    expect(errorToData(value)).toMatchObject({ code: 'WORKER_FAILED' });
  });

  it('that contains itself is shown to a bounded depth', () => {
    const loop: Record<string, unknown> = {};
    loop.again = loop;
    expect(show(loop)).toBe('{"again":{"again":{"again":{...}}}}');
  });

  it('is cut at a bounded length, whatever its size', () => {
    const huge = 'x'.repeat(1 << 28);
    expect(show(huge).length).toBeLessThan(1000);
    expect(show({ huge: [huge, huge] }).length).toBeLessThan(1000);
  });

  it('cannot act on a terminal, nor can the sentence', () => {
    const attack = '\u001b]0;title\u0007\u001b[2J\r\u009b31m\u202e';
    const details = { field: attack, expected: attack, found: { [attack]: attack } };
    const { message } = new SoftpackError('INVALID_FILE', attack, details);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(message).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(message).toContain('\\u001b[2J');
  });

  it('keeps emoji and other scripts as they are', () => {
    expect(show('ñ 家 👨‍👩‍👧')).toBe('ñ 家 👨‍👩‍👧');
  });
});

describe('an error of another realm', () => {
  it('gives its code and message', () => {
    const error = runInNewContext('Object.assign(new Error("gone"), { code: "ENOENT" })');
    expect(error).not.toBeInstanceOf(Error);
    expect(errorCode(error)).toBe('ENOENT');
    expect(errorMessage(error)).toBe('gone');
  });

  it('is not found in values without a code', () => {
    for (const value of [null, undefined, 1, 'text', Symbol('s'), revoked.proxy, { code: 1 }]) {
      expect(errorCode(value)).toBeUndefined();
    }
  });
});
