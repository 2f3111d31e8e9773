import { expect, test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const temporary = await temporaryDirectory();
const samples = 'test/interop/samples';

test('import prints layout, order, agreement and the next command', async () => {
  const out = temporary.path('labels');
  const flags = ['--images', `${samples}/images`, '--size', '12x12', '--out', out];
  const run = await softpack(['import', `${samples}/sre2l-cutmix`, ...flags]);
  expect(run.err).not.toContain('softpack:');
  expect(run.code).toBe(0);
  expect(run.out.split('\n')).toEqual([
    'layout: SRe2L or CDA',
    `20 labels (2 epochs x 10 images) of 7 classes in ${out}`,
    expect.stringMatching(/^views: recorded; .*B on disk$/),
    "order of the images, proved: torch's sampler with 2 permutations per epoch",
    'top class is the folder of the image in 100.0 % of 16 labels (20.3 % by chance)',
    `compress them by: softpack pack ${out} --ratio 40 --out <dir>`,
    '',
  ]);
});

test('import gives the result as JSON, and takes the layout by name', async () => {
  const flags = ['--images', `${samples}/images`, '--size', '12x12', '--from', 'hald', '--json'];
  const run = await softpack(['import', `${samples}/hald`, ...flags, '-o', temporary.path('hald')]);
  expect(JSON.parse(run.out)).toMatchObject({ layout: 'hald', labels: 20, views: 'recorded' });
});

test('import without views takes labels whose views cannot be replayed', async () => {
  const flags = ['--images', `${samples}/images`, '--no-views', '--json', '--size', '11x11'];
  const run = await softpack(['import', `${samples}/hald`, ...flags, '-o', temporary.path('none')]);
  expect(JSON.parse(run.out)).toMatchObject({ views: 'none' });
  const cut = ['import', `${samples}/lpld-21k`, '--images', `${samples}/images`];
  const refused = await softpack([...cut, '-o', temporary.path('cutout')]);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(/views with cutout cannot be replayed .*\[UNSUPPORTED\]/);
});

test('an unknown layout is a usage error', async () => {
  const flags = ['--images', `${samples}/images`, '-o', temporary.path('rded'), '--from', 'rded'];
  const run = await softpack(['import', `${samples}/hald`, ...flags]);
  expect(run.code).toBe(2);
  expect(run.err).toMatch(/Allowed choices are sre2l, lpld, lpqld, fkd, hald, tinyvit/);
});

test('exports what it imported, and says what the layout needs', async () => {
  const archive = temporary.path('to-export');
  const flags = ['--images', `${samples}/images`, '--size', '12x12', '-o', archive];
  expect(await softpack(['import', `${samples}/sre2l-plain`, ...flags])).toMatchObject({ code: 0 });
  const out = temporary.path('exported');
  const run = await softpack(['export', archive, '--to', 'sre2l', '-o', out]);
  expect(run).toMatchObject({ code: 0 });
  expect(run.out).toContain('layout: SRe2L or CDA, batches of 4');
  expect(run.out).toContain(`20 labels (2 epochs x 10 images) in ${out}: 6 files`);
  const again = await softpack(['export', archive, '--to', 'sre2l', '-o', out]);
  expect(again).toMatchObject({ code: 1, err: expect.stringContaining('ALREADY_EXISTS') });
  const seeds = ['export', archive, '--to', 'tinyvit', '-o', temporary.path('seeds')];
  const refused = await softpack([...seeds, '--images', `${samples}/images`]);
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('UNSUPPORTED') });
  expect(await softpack(['export', archive, '--to', 'rded', '-o', out])).toMatchObject({ code: 2 });
});
