import { describe, expect, test } from 'vitest';
import { verifyArchive } from '#src/index.js';
import { temporaryDirectory } from '../temporary.js';
import { FlippedArchive, LAYOUTS, writeLayout } from './flips.js';

const temporary = await temporaryDirectory();

/** The slow suite flips all of them. */
const STRIDE = 1499;

describe.each(Object.entries(LAYOUTS))('layout %s', (name, spec) => {
  test('flipped bits of every file are located by verify', async () => {
    const directory = temporary.path(name);
    await writeLayout(directory, spec);
    const archive = await FlippedArchive.read(directory);
    expect((await verifyArchive(archive.store)).damage).toEqual([]);
    let at = 0;
    for (const [file, bits] of archive.bits) {
      for (; at < bits; at += STRIDE) {
        const { damage } = await archive.flipped(file, at, () => verifyArchive(archive.store));
        expect(damage[0], `bit ${at} of ${file}`).toMatchObject({ file });
        const isShard = file.startsWith('codes-');
        if (isShard) expect('labels' in damage[0] && damage[0].labels.length).toBeGreaterThan(0);
      }
      at -= bits;
    }
  });
});
