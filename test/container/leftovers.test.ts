import { readdir, utimes, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { NpyWriter } from '#src/labels/npy.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();

test('what killed writers of a file left is removed by the next, what others write is not', async () => {
  const path = temporary.path('labels.npy');
  const left = `${path}.tmp-00112233445566aa`;
  const atWork = `${path}.tmp-00112233445566bb`;
  const ofAnother = temporary.path('other.npy.tmp-00112233445566cc');
  for (const file of [left, atWork, ofAnother]) await writeFile(file, 'x');
  const long = new Date(Date.now() - 7_200_000);
  for (const file of [left, ofAnother]) await utimes(file, long, long);
  await using writer = await NpyWriter.create(path, [2]);
  await writer.write(Float32Array.of(1, 2));
  await writer.finish();
  expect((await readdir(temporary.path('.'))).sort()).toEqual(
    ['labels.npy', 'labels.npy.tmp-00112233445566bb', 'other.npy.tmp-00112233445566cc'].sort(),
  );
});
