import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { NoneCodec } from '#src/codecs/none.js';
import { createArchive, diffArchives, labelDivergence, openArchive } from '#src/index.js';
import { softpack } from '../cli/softpack.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const [SAMPLES, EPOCHS, CLASSES] = [300, 3, 5];

/** float16 logits, with the labels of some (epoch, sample) changed. */
async function write(
  name: string,
  changed: readonly (readonly [number, number])[] = [],
  { tau = 4, classes = CLASSES, grid = { epochs: 2, samples: SAMPLES } } = {},
): Promise<string> {
  const out = temporary.path(name);
  const codec = new NoneCodec({ classes, tau, store: 'logits' });
  const { layout, decoding } = codec;
  const spec = { classes, samples: SAMPLES, epochs: EPOCHS, tau, augmentation: null, grid };
  await using writer = await createArchive(out, {
    ...{ ...spec, codec: codec.parts(), layout, decoding, teacher: { name: 'teacher' } },
  });
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const halves = Uint16Array.from({ length: SAMPLES * classes }, (_, i) => (i * 7919) % 15_000);
    for (const [at, sample] of changed) if (at === epoch) halves[sample * classes + 1] ^= 0x4000;
    await writer.writeRow(epoch, { codes: new Uint8Array(halves.buffer) });
  }
  await writer.finish();
  return out;
}

let [a, b, same] = ['', '', ''];
beforeAll(async () => {
  a = await write('a');
  b = await write('b', [
    [0, 3],
    [0, 4],
    [2, 299],
  ]);
  same = await write('same', [], { grid: { epochs: 1, samples: 100 } });
});

test('equal labels in shards of another shape are equal', async () => {
  expect(await diffArchives(a, same)).toEqual({
    equal: true,
    fields: [],
    labels: { kind: 'same' },
  });
});

test('names the labels that differ', async () => {
  const { equal, fields, labels } = await diffArchives(a, b);
  expect([equal, fields]).toEqual([false, []]);
  expect(labels).toEqual({
    kind: 'codes',
    compared: 900,
    differing: 3,
    runs: [
      { epoch: 0, samples: [3, 5] },
      { epoch: 2, samples: [299, 300] },
    ],
  });
});

test('names fields with both values, and the divergence of decoded labels', async () => {
  const other = await write('other', [], { tau: 2 });
  const { fields, labels } = await diffArchives(a, other, { labels: 900 });
  expect(fields).toContainEqual({ field: 'tau', a: 4, b: 2 });
  await using left = await openArchive(a);
  await using right = await openArchive(other);
  const all = { start: 0, count: SAMPLES };
  // Every epoch has the same labels: 900 draws of 300 at most differ in their number alone.
  const whole = labelDivergence(await left.labels(0, all), await right.labels(0, all), CLASSES);
  expect(labels).toMatchObject({ kind: 'decoded', compared: 900 });
  const { divergence } = labels as unknown as { divergence: typeof whole };
  expect(divergence.kl / whole.kl).toBeGreaterThan(0.9);
  expect(divergence.kl / whole.kl).toBeLessThan(1.1);
  expect(divergence.top1).toBe(1);
});

test('other numbers of classes are not compared', async () => {
  const other = await write('classes', [], { classes: 6 });
  const { labels } = await diffArchives(a, other);
  expect(labels).toEqual({ kind: 'incomparable', reason: '5 and 6 classes' });
});

test('archives of version 1 are equal to themselves', async () => {
  const golden = fileURLToPath(new URL('../golden/archives/vqae', import.meta.url));
  expect(await diffArchives(golden, golden)).toMatchObject({ equal: true });
});

test('the command ends with 1 where archives differ, 0 where they do not', async () => {
  expect(await softpack(['diff', a, same])).toMatchObject({ code: 0, out: 'labels: the same\n' });
  const run = await softpack(['diff', a, b]);
  expect(run).toMatchObject({ code: 1, err: '' });
  expect(run.out).toBe(
    'labels: 3 of 900 differ\n  epoch 0, samples 3 to 4\n  epoch 2, samples 299\n',
  );
});
