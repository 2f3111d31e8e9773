import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { FlippedArchive, LAYOUTS, writeLayout } from './flips.js';

const temporary = await temporaryDirectory();

describe.each(Object.entries(LAYOUTS))('layout %s', (name, spec) => {
  test('every flipped bit of every file is located', async () => {
    const directory = temporary.path(name);
    await writeLayout(directory, spec);
    const archive = await FlippedArchive.read(directory);
    const missed: string[] = [];
    for (const [file, bits] of archive.bits) {
      expect(await archive.damageOf(file, 0)).not.toEqual([]);
      for (let bit = 0; bit < bits; bit++) {
        const damage = await archive.damageOf(file, bit);
        const isNamed = damage.length > 0 && damage.every((one) => one.file === file);
        if (!isNamed) missed.push(`bit ${bit} of ${file}`);
      }
    }
    expect(missed).toEqual([]);
  }, 300_000);
});
