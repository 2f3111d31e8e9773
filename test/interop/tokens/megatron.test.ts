import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readMegatron } from '#src/interop/tokens/megatron.js';
import { all, entriesOf, folderFiles, memoryStore, SAMPLES } from './fixture.js';

const FOLDER = join(SAMPLES, 'megatron');
const FILES = await folderFiles(FOLDER);
const V = 131072;

const read = async (files: ReadonlyMap<string, Uint8Array>, vocabulary = V) =>
  all(await readMegatron(memoryStore(files), { vocabulary }));

interface Known {
  readonly ids: number[][];
  readonly logProbs: number[][];
}

test('reads what torch and zstandard wrote, in the order of training', async () => {
  const known: Known[] = JSON.parse(await readFile(join(FOLDER, 'expected.json'), 'utf8'));
  const sequences = await read(FILES);
  expect(sequences.map(entriesOf)).toEqual(known);
  // Ids above 16 bits, and labels of a nucleus, are among them.
  expect(known.some(({ ids }) => ids.flat().some((id) => id > 65535))).toBe(true);
  expect(known.some(({ ids }) => ids.some((list) => list.length === 2))).toBe(true);
});

test('refuses vocabularies of more than 17 bits', async () => {
  await expect(read(FILES, V + 1)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});

/** Offset of the header of a member of a tar. */
const memberAt = (bytes: Uint8Array, name: string) => Buffer.from(bytes).indexOf(`${name}\0`);

function changed(change: (bytes: Buffer) => Uint8Array | undefined): Map<string, Uint8Array> {
  const files = new Map(FILES);
  const copy = Buffer.from(FILES.get('dp1__1.tar') ?? []);
  const result = change(copy);
  if (result === undefined) files.delete('dp1__1.tar');
  else files.set('dp1__1.tar', result);
  return files;
}

test.each([
  [
    'a rank that lacks an iteration',
    (bytes: Buffer) => bytes.subarray(0, memberAt(bytes, '1.pt.zst')),
  ],
  ['a damaged header', (bytes: Buffer) => bytes.fill(0x39, 100, 104)],
  ['a tar that is cut', (bytes: Buffer) => bytes.subarray(0, memberAt(bytes, '1.pt.zst') + 600)],
  [
    'damaged data',
    (bytes: Buffer) =>
      bytes.fill(0xff, memberAt(bytes, '0.pt.zst') + 530, memberAt(bytes, '0.pt.zst') + 600),
  ],
  [
    'a frame that states a huge size',
    (bytes: Buffer) =>
      bytes.fill(
        0xff,
        memberAt(bytes, '0.pt.zst') + 512 + 4,
        memberAt(bytes, '0.pt.zst') + 512 + 12,
      ),
  ],
])('refuses %s', async (_, change) => {
  await expect(read(changed(change))).rejects.toMatchObject({ code: 'INVALID_FILE' });
});

test('refuses folders without tars, or without those of a rank', async () => {
  await expect(read(new Map())).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const [rank1] = [...FILES].filter(([name]) => name.startsWith('dp1'));
  await expect(read(new Map([rank1]))).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('refuses the format before', async () => {
  const meta = Buffer.from(JSON.stringify({ saver: { mbs_save: 2, format_version: 1 } }));
  const text = (bytes: Buffer) => {
    const at = bytes.indexOf('{"hash"');
    const size = bytes.indexOf('\0', at) - at;
    return Buffer.concat([
      bytes.subarray(0, at),
      meta,
      Buffer.alloc(size - meta.length, 0x20),
      bytes.subarray(at + size),
    ]);
  };
  await expect(read(changed(text))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});
