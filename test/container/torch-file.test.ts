import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openTorchFile, readTorchFile } from '#src/container/torch/open.js';
import { stateDictOf } from '#src/container/torch/state-dict.js';
import type { PickleValue, TorchTensor } from '#src/container/torch/values.js';
import { isSoftpackError } from '#src/errors.js';
import { expectedOf, filesBelow, memoryFile, plain, SAMPLES, sample } from '../interop/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();

interface Expected {
  readonly [name: string]: unknown;
}

/** Items of a file in order, by the keys that the known values have. */
async function itemsOf(path: string, ...at: number[]) {
  await using file = await openTorchFile(path);
  const root = at.reduce((list, i) => (list as readonly PickleValue[])[i], file.root);
  return await plain(file, root);
}

function values(expected: Expected, keys: readonly string[]): unknown[] {
  return keys.filter((key) => key in expected).map((key) => expected[key]);
}

const SIX = ['coords', 'flip', 'cutout', 'rand_params', 'mix_index', 'mix_lam', 'mix_bbox'];
const LABELS = ['logits', 'probabilities', 'values', 'classes', 'labels'];
const KEYS = [...SIX, ...LABELS];

test.each([
  ...['sre2l-cutmix', 'sre2l-mixup', 'sre2l-plain', 'sre2l-legacy', 'lpld', 'lpld-21k'],
  ...['lpqld', 'lpqld-randaug', 'lpqld-full'],
])('%s: every value is the known one', async (name) => {
  const { batches } = expectedOf(name);
  for (const { epoch, batch, ...expected } of batches) {
    const folder = epoch === undefined ? [] : [`epoch_${epoch}`];
    const found = await itemsOf(sample(name, ...folder, `batch_${batch}.tar`));
    expect(found).toEqual(values(expected, KEYS));
  }
});

test.each([...['fkd-k5', 'fkd-k5-half', 'fkd-hard', 'fkd-smoothing', 'fkd-legacy']])(
  '%s: every value is the known one',
  async (name) => {
    const { files } = expectedOf(name);
    expect(files).toHaveLength(4);
    for (const { file, ...expected } of files) {
      expect(await itemsOf(sample(name, file))).toEqual(values(expected, KEYS));
    }
  },
);

test('hald: a file holds the batches of an epoch, another one the ids', async () => {
  const { batches } = expectedOf('hald');
  const ids = await itemsOf(sample('hald', 'sampler_indices_dict.pt'));
  const idsOf = (epoch: number) => (ids as Record<string, number[]>)[epoch];
  for (const { epoch, batch, ...expected } of batches) {
    const found = await itemsOf(sample('hald', `epoch_${epoch}.tar`), batch);
    expect(found).toEqual(values(expected, KEYS));
    expect(idsOf(epoch).slice(4 * batch, 4 * batch + 4)).toEqual(expected.ids);
  }
});

test.each([
  ['sre2l-numpy1/batch_0.tar', 'sre2l-cutmix/epoch_0/batch_0.tar'],
  ['fkd-numpy1/class000_id000.tar', 'fkd-k5/new000/class000_id000.tar'],
])('%s: names of numpy 1 mean the same', async (old, recent) => {
  expect(await itemsOf(sample(old))).toEqual(await itemsOf(sample(recent)));
});

test.each(['plain.pt', 'wrapped.pth', 'legacy.pth'])(
  'checkpoint %s: a state_dict',
  async (name) => {
    await using file = await openTorchFile(sample('checkpoint', name));
    const found: Record<string, unknown> = {};
    for (const [key, tensor] of stateDictOf(file)) found[key] = await plain(file, tensor);
    expect(found).toEqual(expectedOf('checkpoint'));
  },
);

test('a list of labels is no checkpoint', async () => {
  await using file = await openTorchFile(sample('sre2l-plain/epoch_0/batch_0.tar'));
  expect(() => stateDictOf(file)).toThrow(/no state_dict .*found list of 6/);
});

test('opening reads no tensor; a label is one read of its bytes', async () => {
  const bytes = readFileSync(sample('sre2l-cutmix/epoch_0/batch_0.tar'));
  const { file, reads } = memoryFile(bytes);
  const torch = await readTorchFile(file);
  const logits = (torch.root as readonly PickleValue[])[5] as TorchTensor;
  const known = expectedOf('sre2l-cutmix').batches[0].logits;
  const at = bytes.indexOf(await torch.read(logits));
  expect(reads.slice(0, -2).every(([offset, length]) => offset + length <= at || offset > at)).toBe(
    true,
  );
  reads.length = 0;
  const label = await torch.read(logits, { start: 2, count: 1 });
  expect(reads).toEqual([[at + 2 * 14, 14]]);
  const halves = new Float16Reader(label);
  expect(halves.values()).toEqual(known[2]);
});

/** Half floats by the definition of IEEE 754. */
class Float16Reader {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  values(): number[] {
    return Array.from({ length: this.#bytes.length / 2 }, (_, i) => {
      const bits = this.#bytes[2 * i] + 256 * this.#bytes[2 * i + 1];
      const [sign, exponent, rest] = [bits >> 15, (bits >> 10) & 31, bits & 1023];
      const size = exponent === 0 ? rest * 2 ** -24 : (1 + rest / 1024) * 2 ** (exponent - 15);
      return sign === 1 ? -size : size;
    });
  }
}

test('rows outside of a tensor are an argument error', async () => {
  await using file = await openTorchFile(sample('sre2l-plain/epoch_0/batch_0.tar'));
  const [coords] = file.root as readonly PickleValue[];
  const reading = file.read(coords as TorchTensor, { start: 3, count: 2 });
  await expect(reading).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'rows' });
});

test.each([
  [
    'os_system.tar',
    'os_system/data.pkl, byte 157',
    'torch tensors and numpy arrays',
    'posix.system',
  ],
  ['oversized_shape.tar', 'oversized_shape/data.pkl, byte 297', 'index < 14', 1399],
  ['truncated.tar', 'end of file', 'end record at byte 1027', '1049 bytes'],
  ['bare_pickle.tar', 'magic', 'the number that torch.save begins with', 'list of 3'],
])(
  'hostile %s is refused with file, field and both values',
  async (name, field, expected, found) => {
    const path = sample('hostile', name);
    const opening = openTorchFile(path);
    await expect(opening).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: `${path}: ${field}`,
      expected,
      found,
    });
  },
);

/** A file with one pickle, in the form before torch 1.6, whose end is not reached if the pickle is refused. */
function legacyFile(...pickle: (number | string)[]): Uint8Array {
  const parts = pickle.map((part) => (typeof part === 'string' ? Buffer.from(part) : [part]));
  const magic = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex');
  const head = Buffer.from('80024de9032e80027d580d0000006c6974746c655f656e6469616e88732e', 'hex');
  return Buffer.concat([magic, head, ...parts.map((part) => Buffer.from(part))]);
}

test.each([
  ['INST', /opcode is not allowed .*0x69/, ['(i__builtin__\neval\n.']],
  ['OBJ', /opcode is not allowed .*0x6f/, ['(o.']],
  ['NEWOBJ', /opcode is not allowed .*0x81/, [0x80, 2, ')', 0x81, '.']],
  ['EXT1', /opcode is not allowed .*0x82/, [0x82, 1, '.']],
  ['PERSID', /opcode is not allowed .*0x50/, ['Pkey\n.']],
  ['a name of the standard library', /name is not allowed .*builtins.eval/, ['cbuiltins\neval\n.']],
  [
    'a name by STACK_GLOBAL',
    /name is not allowed .*os.system/,
    [0x8c, 2, 'os', 0x8c, 6, 'system', 0x93],
  ],
  ['a name of Object.prototype', /name is not allowed/, ['ctorch\nconstructor\n.']],
  ['a call of a list', /not a name that can be applied/, [']', ')', 'R.']],
  ['a call of a type', /name cannot be applied/, ['ctorch\nFloatStorage\n)R.']],
  ['a long name', /name is too long/, [`c${'a'.repeat(300)}\nb\n.`]],
  [
    'a negative count',
    /wrong count of a storage/,
    [
      ...['(', 0x8c, 7, 'storage', 'ctorch\nFloatStorage\n', 0x8c, 1, '0', 0x8c, 3, 'cpu'],
      ...['J', 255, 255, 255, 255, 'tQ.'],
    ],
  ],
  ['an unknown memo', /memo has no such entry/, ['h', 7, '.']],
  ['a list as key', /wrong key/, ['}]', 'Ns.']],
  ['a pop of a mark', /stack is empty/, ['(.']],
  ['two values', /values left over/, ['NN.']],
  ['an unknown protocol', /unknown protocol/, [0x80, 9, '.']],
])('a pickle with %s is refused', async (_, message, pickle) => {
  const path = await temporary.file(`${Math.random()}.tar`, legacyFile(...pickle));
  const error = await openTorchFile(path).catch((e: unknown) => e);
  expect(error).toMatchObject({ code: 'INVALID_FILE' });
  expect(String(error)).toMatch(message);
});

test('a __proto__ key is a key like any other', async () => {
  const pickle = ['}', 0x8c, 9, '__proto__', ']s.', ']', '.'];
  const path = await temporary.file('proto.tar', legacyFile(...pickle));
  await using file = await openTorchFile(path);
  expect([...(file.root as Map<string, PickleValue>).keys()]).toEqual(['__proto__']);
  expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  expect(Array.isArray(Object.prototype)).toBe(false);
});

const FUZZED = [
  ...['sre2l-cutmix/epoch_0/batch_0.tar', 'sre2l-legacy/epoch_0/batch_0.tar'],
  ...['fkd-k5/new000/class000_id000.tar', 'fkd-legacy/new000/class000_id000.tar'],
  ...['lpqld-randaug/batch_0.tar', 'hald/sampler_indices_dict.pt', 'checkpoint/wrapped.pth'],
].map((name) => readFileSync(sample(name)));

interface Mutation {
  readonly bytes: Uint8Array;
  readonly edits: readonly (readonly [at: number, value: number])[];
  readonly cut: number | null;
  readonly repeat: readonly [at: number, length: number] | null;
}

/** Changed, cut and repeated bytes of a real file. */
const mutation: fc.Arbitrary<Mutation> = fc.record({
  bytes: fc.constantFrom(...FUZZED),
  edits: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
  cut: fc.option(fc.nat(), { freq: 4 }),
  repeat: fc.option(fc.tuple(fc.nat(), fc.nat(200)), { freq: 4 }),
});

function mutate({ bytes, edits, cut, repeat }: Mutation): Uint8Array {
  let out = Buffer.from(bytes);
  for (const [at, value] of edits) out[at % out.length] = value;
  if (repeat !== null) {
    const at = repeat[0] % out.length;
    out = Buffer.concat([out.subarray(0, at + repeat[1]), out.subarray(at)]);
  }
  return cut === null ? out : out.subarray(0, cut % out.length);
}

test('mutated files give a SoftpackError or values, in little memory', async () => {
  const used = () => {
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const before = used();
  let read = 0;
  await fc.assert(
    fc.asyncProperty(mutation, async (mutated) => {
      try {
        const file = await readTorchFile(memoryFile(mutate(mutated)).file);
        await plain(file, file.root);
        read += 1;
      } catch (error) {
        if (!isSoftpackError(error)) throw error;
        expect(error.code).toBe('INVALID_FILE');
      }
      expect(used() - before).toBeLessThan(256 * 2 ** 20);
    }),
    { numRuns: 3000, seed: 1 },
  );
  // Edits of numbers keep a file readable: the property is not about refused files alone.
  expect(read).toBeGreaterThan(50);
});

test('every sample but the hostile ones can be read whole', async () => {
  const names = filesBelow(SAMPLES, /\.(tar|pt|pth)$/).filter((name) => !name.includes('hostile'));
  expect(names.length).toBeGreaterThan(60);
  for (const name of names) {
    await using file = await openTorchFile(sample(name));
    await plain(file, file.root);
  }
});
