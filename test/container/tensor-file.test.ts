import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTensorFile, type StoredTensor, writeTensorFile } from '#src/container/tensor-file.js';

const TENSORS = new Map<string, StoredTensor>([
  ['odd', { dtype: 'U8', shape: [7], data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7) }],
  ['none', { dtype: 'F32', shape: [0, 3], data: new Uint8Array(0) }],
  ['scalar', { dtype: 'F16', shape: [], data: Uint8Array.of(0, 0x3c) }],
  ['wide', { dtype: 'F64', shape: [1, 2], data: new Uint8Array(16).fill(9) }],
]);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softpack-tensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('tensor files', () => {
  it('give back what was written, each tensor in a buffer of its own', async () => {
    const path = join(folder, 'a.safetensors');
    await writeTensorFile(path, TENSORS, { note: 'é' });
    const { tensors, metadata } = await readTensorFile(path);
    expect([...tensors]).toEqual([...TENSORS]);
    expect([...metadata]).toEqual([['note', 'é']]);
    for (const { data } of tensors.values()) expect(data.byteOffset).toBe(0);
  });

  it('are replaced whole, and equal input gives equal bytes', async () => {
    const [a, b] = [join(folder, 'b.safetensors'), join(folder, 'c.safetensors')];
    await writeFile(a, 'something longer '.repeat(1000));
    await writeTensorFile(a, TENSORS, {});
    await writeTensorFile(b, TENSORS, {});
    expect(await readFile(a)).toEqual(await readFile(b));
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('that are damaged or missing are typed errors', async () => {
    const path = join(folder, 'd.safetensors');
    await writeTensorFile(path, TENSORS, {});
    await writeFile(path, (await readFile(path)).subarray(0, -1));
    await expect(readTensorFile(path)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await expect(readTensorFile(join(folder, 'e'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
