import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planSafetensors } from '#src/container/plan.js';
import {
  MAX_HEADER_BYTES,
  MAX_TENSORS,
  parseSafetensorsHeader,
  readSafetensorsLayout,
  type SafetensorsLayout,
  tensorBytes,
} from '#src/container/safetensors.js';
import { DTYPES } from '#src/core/dtypes.js';
import { SoftpackError } from '#src/errors.js';
import type { ByteFile } from '#src/store/byte-store.js';

const golden = (name: string) => readFile(new URL(`../labels/golden/${name}`, import.meta.url));

/** Counts what is read, so that tests see that nothing large is asked for before it is checked. */
function inMemory(bytes: Uint8Array, size = bytes.length): ByteFile & { reads: number[] } {
  const reads: number[] = [];
  return {
    name: 'x.safetensors',
    size,
    reads,
    async read(offset, into) {
      reads.push(into.length);
      if (offset + into.length > bytes.length) throw new Error('read beyond the end');
      into.set(bytes.subarray(offset, offset + into.length));
    },
    close: async () => {},
  };
}

function container(json: string | Uint8Array, dataBytes = 0): Uint8Array {
  const header = Buffer.from(json as string);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([prefix, header, Buffer.alloc(dataBytes)]);
}

function entry(dtype: unknown, shape: unknown, begin: unknown, end: unknown): string {
  return JSON.stringify({ dtype, shape, data_offsets: [begin, end] });
}

/** Rules of the format for any accepted header, checked independently. */
function expectValid(layout: SafetensorsLayout, fileBytes: number): void {
  let position = layout.dataOffset;
  for (const { dtype, shape, begin, end } of layout.tensors.values()) {
    expect(layout.dataOffset + begin).toBe(position);
    const bits = shape.reduce((a, b) => a * BigInt(b), BigInt(DTYPES[dtype].bits));
    expect(bits).toBe(8n * BigInt(end - begin));
    position = layout.dataOffset + end;
  }
  expect(position).toBe(fileBytes);
}

describe('readSafetensorsLayout', () => {
  test('reads what the safetensors package wrote', async () => {
    const one = await readSafetensorsLayout(inMemory(await golden('f16.safetensors')));
    expect([...one.metadata]).toEqual([['made by', 'safetensors']]);
    expect(one.tensors.get('logits')).toEqual({
      name: 'logits',
      dtype: 'F16',
      shape: [2, 3, 5],
      begin: 0,
      end: 60,
    });
    const many = await readSafetensorsLayout(inMemory(await golden('many.safetensors')));
    expectValid(many, 448);
    expect(new Set(many.tensors.keys())).toEqual(new Set(['a', 'b', 'ids']));
  });

  test.each([
    ['an empty file', new Uint8Array(), 'size'],
    ['seven bytes', new Uint8Array(7), 'size'],
    ['no header', container(''), 'header'],
    ['a list', container('[]'), 'header'],
    ['leading blanks', container(' {}'), 'header'],
    ['a cut header', container('{"a":').slice(0, 11), 'header length'],
    ['half of an object', container('{"a":'), 'header'],
    ['two objects', container('{}{}'), 'header'],
    ['bytes that are not UTF-8', container(Buffer.from('{"\xff":1}', 'latin1')), 'header'],
    ['a lone surrogate', container(Buffer.from([0x7b, 0xed, 0xa0, 0x80, 0x7d])), 'header'],
    ['a byte order mark', container('\ufeff{}'), 'header'],
    [
      'a repeated name',
      container(`{"a":${entry('U8', [1], 0, 1)},"a":${entry('U8', [1], 0, 1)}}`, 1),
      'header',
    ],
    [
      'a repeated escaped name',
      container(`{"a":${entry('U8', [1], 0, 1)},"\\u0061" :${entry('U8', [1], 0, 1)}}`, 1),
      'header',
    ],
    [
      'a repeated inner key',
      container('{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}', 1),
      'header',
    ],
    ['deep nesting', container(`{"a":${'['.repeat(100)}${']'.repeat(100)}}`), 'header'],
    ['metadata that is a list', container('{"__metadata__":[]}'), '__metadata__'],
    ['metadata with a number', container('{"__metadata__":{"n":1}}'), '__metadata__.n'],
    ['a prototype that is no tensor', container('{"__proto__":{"n":1}}'), 'tensor __proto__'],
    [
      'an extra key',
      container('{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}}', 1),
      'tensor a',
    ],
    ['a tensor that is a number', container('{"a":1}'), 'tensor a'],
    ['no dtype', container('{"a":{"shape":[],"data_offsets":[0,1],"x":1}}', 1), 'tensor a.dtype'],
    ['an unknown dtype', container(`{"a":${entry('U7', [1], 0, 1)}}`, 1), 'tensor a.dtype'],
    ['an inherited dtype', container(`{"a":${entry('toString', [1], 0, 1)}}`, 1), 'tensor a.dtype'],
    [
      'a negative dimension',
      container(`{"a":${entry('U8', [-1, -1], 0, 1)}}`, 1),
      'tensor a.shape',
    ],
    ['half a dimension', container(`{"a":${entry('U8', [0.5, 2], 0, 1)}}`, 1), 'tensor a.shape'],
    [
      'a dimension that is text',
      container(`{"a":${entry('U8', ['1'], 0, 1)}}`, 1),
      'tensor a.shape',
    ],
    [
      'a dimension beyond 2^53',
      container('{"a":{"dtype":"U8","shape":[1e300,0],"data_offsets":[0,0]}}'),
      'tensor a.shape',
    ],
    [
      'an overflowing product',
      container(`{"a":${entry('U8', [2 ** 32, 2 ** 32, 0], 0, 0)}}`),
      'tensor a.shape',
    ],
    ['half a byte', container(`{"a":${entry('F4', [3], 0, 1)}}`, 1), 'tensor a.shape'],
    [
      'one offset',
      container('{"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}}', 1),
      'tensor a.data_offsets',
    ],
    [
      'an end before the begin',
      container(`{"a":${entry('U8', [1], 2, 1)}}`, 2),
      'tensor a.data_offsets',
    ],
    [
      'a size unlike the shape',
      container(`{"a":${entry('U16', [1], 0, 1)}}`, 1),
      'tensor a.data_offsets',
    ],
    ['a hole', container(`{"a":${entry('U8', [1], 1, 2)}}`, 2), 'tensor a.data_offsets'],
    [
      'an overlap',
      container(`{"a":${entry('U8', [2], 0, 2)},"b":${entry('U8', [2], 1, 3)}}`, 3),
      'tensor b.data_offsets',
    ],
    [
      'a tensor inside another',
      container(`{"a":${entry('U8', [3], 0, 3)},"b":${entry('U8', [1], 1, 2)}}`, 3),
      'tensor b.data_offsets',
    ],
    ['data cut short', container(`{"a":${entry('U8', [2], 0, 2)}}`, 1), 'size'],
    ['trailing data', container(`{"a":${entry('U8', [2], 0, 2)}}`, 3), 'size'],
  ])('refuses %s', async (_, bytes, field) => {
    await expect(readSafetensorsLayout(inMemory(bytes))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `x.safetensors: ${field}`,
    });
  });

  test('refuses a huge header before allocating it', async () => {
    const bytes = container('{}');
    for (const length of [BigInt(MAX_HEADER_BYTES) + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      Buffer.from(bytes.buffer, bytes.byteOffset).writeBigUInt64LE(length);
      const file = inMemory(bytes, 2 ** 40);
      await expect(readSafetensorsLayout(file)).rejects.toMatchObject({
        code: 'INVALID_FILE',
        field: 'x.safetensors: header length',
        expected: `at most ${MAX_HEADER_BYTES}`,
        found: String(length),
      });
      expect(file.reads).toEqual([8]);
    }
  });

  test('refuses more tensors than it counts', async () => {
    const names = Array.from(
      { length: MAX_TENSORS + 1 },
      (_, i) => `"t${i}":${entry('U8', [0], 0, 0)}`,
    );
    await expect(readSafetensorsLayout(inMemory(container(`{${names}}`)))).rejects.toMatchObject({
      code: 'INVALID_FILE',
      message: expect.stringContaining('too many tensors'),
    });
  });

  test('survives a header that is one long string of escapes', async () => {
    const json = `{"__metadata__":{"a":"${'\\n'.repeat(4_000_000)}"}}`;
    const layout = await readSafetensorsLayout(inMemory(container(json)));
    expect(layout.metadata.get('a')).toHaveLength(4_000_000);
  });

  test('takes odd but valid files', async () => {
    const proto = await readSafetensorsLayout(
      inMemory(container(`{"__proto__":${entry('U8', [1], 0, 1)}}   `, 1)),
    );
    expect([...proto.tensors.keys()]).toEqual(['__proto__']);
    const empty = await readSafetensorsLayout(inMemory(container('{}')));
    expect(empty.tensors.size).toBe(0);
    const scalar = `{"e":${entry('F32', [0, 9], 4, 4)},"s":${entry('F32', [], 0, 4)}}`;
    expectValid(await readSafetensorsLayout(inMemory(container(scalar, 4))), 8 + scalar.length + 4);
  });
});

const planned = fc.uniqueArray(
  fc.record({
    name: fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }),
    dtype: fc.constantFrom('U8', 'U16', 'F16', 'F32', 'U64', 'BOOL', 'BF16'),
    shape: fc.array(fc.nat(9), { maxLength: 3 }),
  }),
  { maxLength: 8, selector: ({ name }) => name },
);
const metadata = fc.dictionary(
  fc.string({ unit: 'grapheme', maxLength: 9 }).filter((key) => key !== '__proto__'),
  fc.string({ unit: 'grapheme' }),
  { noNullPrototype: true, maxKeys: 4 },
);

describe('planSafetensors', () => {
  test('gives files that read back, aligned, with equal bytes for equal input', () => {
    fc.assert(
      fc.property(planned, metadata, (tensors, words) => {
        const valid = tensors.filter(
          ({ name }) =>
            !name.startsWith('__pad__.') && name !== '__proto__' && name !== '__metadata__',
        );
        const { header, layout } = planSafetensors(valid, words);
        expect(planSafetensors(valid, words).header).toEqual(header);
        const bytes = valid.reduce(
          (sum, { dtype, shape }) => sum + (tensorBytes(dtype, shape) ?? 0),
          0,
        );
        const isSmall = bytes < 2 ** 20;
        expect(layout.dataOffset % (isSmall ? 8 : 4096)).toBe(0);
        expect(header.length).toBe(layout.dataOffset);
        expectValid(layout, layout.fileBytes);
        const read = parseSafetensorsHeader('again', header, layout.fileBytes);
        expect(Object.fromEntries(read.metadata)).toEqual(words);
        for (const { name, dtype, shape } of valid) {
          const found = read.tensors.get(name);
          expect(found).toMatchObject({ dtype, shape });
          const element = Math.max(1, (tensorBytes(dtype, [8]) ?? 0) / 8);
          expect((found?.begin ?? 1) % (isSmall ? element : 64)).toBe(0);
          // Little is added to small files.
          if (isSmall)
            expect(layout.fileBytes - layout.dataOffset - bytes).toBeLessThan(8 * valid.length + 1);
        }
      }),
    );
  });

  test.each(['__metadata__', '__proto__', '__pad__.0', 'twice'])('refuses the name %s', (name) => {
    const tensor = (n: string) => ({ name: n, dtype: 'U8', shape: [1] }) as const;
    expect(() => planSafetensors([tensor('twice'), tensor(name)])).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: `tensor ${name}` }),
    );
  });

  test('any damage to a header gives a valid layout or a typed error', () => {
    const { header, layout } = planSafetensors(
      [
        { name: 'codes', dtype: 'U8', shape: [3, 33] },
        { name: 'lambda', dtype: 'F16', shape: [3, 11] },
      ],
      { format: 'x' },
    );
    const text = Buffer.from(header).toString('latin1').trimEnd();
    const snippet = fc.constantFrom(
      '"',
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '-1',
      '0',
      '9e99',
      '1',
      '\\u0000',
      '\xff',
      'null',
      '"U8"',
    );
    const edit = fc.tuple(fc.integer({ min: 8, max: text.length }), fc.nat(4), snippet);
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.array(edit, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: -2, max: 2 }),
        (edits, size) => {
          let damaged = text;
          for (const [at, drop, insert] of edits) {
            damaged = damaged.slice(0, at) + insert + damaged.slice(at + drop);
          }
          const bytes = Buffer.from(damaged.padEnd(header.length), 'latin1');
          const fileBytes = bytes.length + (layout.fileBytes - layout.dataOffset) + size;
          try {
            expectValid(parseSafetensorsHeader('damaged', bytes, fileBytes), fileBytes);
            accepted += 1;
          } catch (error) {
            if (!(error instanceof SoftpackError)) throw error;
            expect(error.code).toBe('INVALID_FILE');
            expect(error.field).toMatch(/^damaged: /);
          }
        },
      ),
      { numRuns: 5000 },
    );
    // Some edits are harmless (a letter of a name); if none were, the property would say little.
    expect(accepted).toBeGreaterThan(0);
  });
});
