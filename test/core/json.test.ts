import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson } from '#src/core/json.js';
import { SoftpackError } from '#src/errors.js';

const parse = (text: string) => parseJson('a.json', 'content', Buffer.from(text));

function messageOf(bytes: Uint8Array | string): string {
  try {
    parseJson('a.json', 'content', Buffer.from(bytes as string));
  } catch (error) {
    if (error instanceof SoftpackError && error.code === 'INVALID_FILE') return error.message;
    throw error;
  }
  return 'no error';
}

describe('JSON of a file', () => {
  it('is what JSON.parse gives for any value that JSON can carry', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), (text) => {
        expect(parse(text)).toEqual(JSON.parse(text));
        expect(parse(JSON.stringify(text))).toBe(text);
      }),
    );
  });

  it('may begin with a byte-order mark', () => {
    expect(parse('\ufeff{"a": 1}')).toEqual({ a: 1 });
  });

  it('counts no bracket or comma inside a string', () => {
    const text = `["${'[{,'.repeat(1 << 20)}\\"[", "\\\\"]`;
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  it.each([
    ['arrays', '['.repeat(65) + ']'.repeat(65)],
    ['objects', `${'{"a":'.repeat(65)}0${'}'.repeat(65)}`],
    ['brackets that never close', '['.repeat(1 << 20)],
  ])('is refused when nested too deep: %s', (_, text) => {
    expect(messageOf(text)).toMatch('nested too deep (expected at most 64 levels)');
  });

  it('takes 64 levels', () => {
    expect(messageOf('['.repeat(64) + ']'.repeat(64))).toBe('no error');
  });

  it.each([
    ['UTF-16', Buffer.from('\ufeff{}', 'utf16le'), 'not UTF-8 (expected UTF-8, found UTF-16)'],
    ['broken UTF-8', Uint8Array.of(0x22, 0xc3, 0x22), 'not UTF-8'],
    ['nothing', '', 'not JSON'],
    ['a string that never ends', '"a', 'not JSON'],
    ['a string that ends in a backslash', '"a\\', 'not JSON'],
    ['brackets in disorder', '[}', 'not JSON'],
    ['a key twice', '{"a": 1, "\\u0061": 2}', 'key occurs twice (found a)'],
    ['an escape sequence as a key, twice', '{"\\u001b[2J":1,"\\u001b[2J":1}', '(found \\u001b[2J)'],
  ])('is refused: %s', (_, bytes, message) => {
    expect(messageOf(bytes)).toContain(message);
  });

  it('of 64 MiB takes little memory before it is refused', () => {
    const unit = '[{"a":[]},';
    const bytes = Buffer.alloc(64 << 20, unit);
    bytes[0] = 0x5b;
    const before = process.memoryUsage().rss;
    expect(messageOf(bytes)).toMatch(/nested too deep|too many values/);
    const flat = Buffer.alloc(64 << 20, '{},');
    flat[0] = 0x5b;
    expect(messageOf(flat)).toMatch('too many values (expected at most 2097152 values)');
    expect(process.memoryUsage().rss - before).toBeLessThan(200 << 20);
  });
});
