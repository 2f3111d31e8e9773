import { readFile, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { PartialRow } from '#src/pipeline/partial-row.js';
import { temporaryDirectory } from '../temporary.js';

it('takes back what it saved, and nothing that changed on disk', async () => {
  const folder = (await temporaryDirectory()).path('');
  const archive = { archiveId: 'ab', nextEpoch: 2 };
  const open = (of = archive) => PartialRow.open(folder, of, 4, 3);
  const row = await open();
  expect(row.done).toBe(0);
  await row.add(
    2,
    Uint16Array.from({ length: 6 }, (_, i) => 1000 + i),
  );
  await row.save(2);
  expect((await open()).done).toBe(2);
  expect([...(await open()).values.subarray(0, 6)]).toEqual([1000, 1001, 1002, 1003, 1004, 1005]);
  expect((await open({ ...archive, nextEpoch: 3 })).done).toBe(0);
  expect((await open({ ...archive, archiveId: 'cd' })).done).toBe(0);

  const path = `${folder}/unfinished-row.safetensors`;
  const bytes = await readFile(path);
  for (let at = bytes.indexOf(Buffer.from([1000 & 255, 1000 >> 8])), bit = 0; bit < 96; bit++) {
    const changed = Buffer.from(bytes);
    changed[at + (bit >> 3)] ^= 1 << (bit & 7);
    await writeFile(path, changed);
    expect((await open()).done, `bit ${bit} of the labels`).toBe(0);
  }
  await writeFile(path, bytes.subarray(0, bytes.length - 1));
  expect((await open()).done).toBe(0);
});
