import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openImages } from '#src/images/open.js';
import { writeImage } from '../images/fixture.js';
import { SAMPLES, trainCodec, writeArchive } from '../loader/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const temporary = await temporaryDirectory();
const folder = temporary.path('images');
for (let i = 0; i < SAMPLES; i++) {
  await writeImage(folder, `a/${String(i).padStart(3, '0')}.png`, i, [12, 10 + (i % 3)]);
}
const archive = await writeArchive(temporary.path('labels'), await trainCodec());
afterAll(() => archive.close());

describe('softpack pack-images', () => {
  test('writes what openImages reads, at the size asked for', async () => {
    const out = temporary.path('raw');
    const run = await softpack(['pack-images', folder, '--out', out, '--size', '8x9', '--json']);
    expect(run.code).toBe(0);
    const { count, id } = JSON.parse(run.out);
    const images = await openImages(out);
    expect([count, id]).toEqual([SAMPLES, images.id]);
    const { description } = images;
    expect(description.kind === 'packed' && [...description.index.sizes.subarray(0, 2)]).toEqual([
      8, 9,
    ]);
    const jpeg = ['--encoding', 'jpeg', '--quality', '80', '--out', temporary.path('jpeg')];
    const packed = await softpack(['pack-images', folder, ...jpeg]);
    expect(packed.out).toContain('37 images');
  });

  test('says what it leaves out, and lists damaged images once', async () => {
    const mixed = temporary.path('mixed');
    await writeImage(mixed, 'a/0.png', 0, [9, 9]);
    await writeFile(join(mixed, 'a/1.heic'), '');
    await writeFile(join(mixed, 'a/2\u001b[31m.png'), 'no image');
    await writeFile(join(mixed, 'a/3.png'), 'no image');
    const out = temporary.path('sound');
    const refused = await softpack(['pack-images', mixed, '--out', out]);
    expect(refused.code).not.toBe(0);
    const run = await softpack(['pack-images', mixed, '--out', out, '--skip-damaged', '--json']);
    expect(run.code).toBe(0);
    expect(JSON.parse(run.out)).toMatchObject({ count: 1, damaged: [{}, {}] });
    for (const text of [refused.err, run.err]) {
      expect(text).toContain('1.heic');
      expect(text.split('3.png').length).toBe(2);
      expect(text).not.toContain('\u001b[31m');
    }
    const inside = await softpack(['pack-images', mixed, '--out', join(mixed, 'packed')]);
    expect(inside).toMatchObject({ code: 2, err: expect.stringContaining('--out') });
    const again = await softpack(['pack-images', mixed, '--out', out, '--skip-damaged', '--json']);
    expect([again.code, again.out]).toEqual([0, run.out]);
  });

  test.each([
    ['no folder', ['absent', '--out', 'x'], 1, 'NOT_FOUND'],
    ['no size', [folder, '--out', 'x', '--size', '8'], 2, '224x224'],
    ['no encoding', [folder, '--out', 'x', '--encoding', 'png'], 2, 'raw, jpeg'],
  ])('explains %s', async (_, args, code, text) => {
    const run = await softpack(['pack-images', ...args]);
    expect(run.code).toBe(code);
    expect(run.err).toContain(text);
  });
});

describe('softpack loader-bench', () => {
  const args = ['loader-bench', temporary.path('labels'), '--seconds', '0.2', '--batch', '8'];

  test('measures each number of workers and says what bounds it', async () => {
    const run = await softpack([...args, '--images', folder, '--workers', '0,2', '--json']);
    expect(run).toMatchObject({ code: 0, err: '' });
    const { runs } = JSON.parse(run.out);
    expect(runs.map(({ workers }: { workers: number }) => workers)).toEqual([0, 2]);
    for (const { samplesPerSecond, waitShare, perBatch } of runs) {
      expect(samplesPerSecond).toBeGreaterThan(0);
      expect(waitShare).toBeLessThanOrEqual(1.01);
      expect(perBatch.read).toBeGreaterThan(0);
    }
  });

  test('prints a table, and advice', async () => {
    const { out } = await softpack([...args, '--workers', '1', '--step', '5']);
    expect(out.split('\n')[0]).toContain('bound by');
    expect(out).toContain('Fastest with 1 workers');
  });

  test('refuses images of another archive', async () => {
    const few = temporary.path('few');
    await writeImage(few, 'a/0.png', 0, [9, 9]);
    const run = await softpack([...args, '--images', few]);
    expect(run.code).toBe(2);
    expect(run.err).toContain('not the images of this archive');
  });
});
