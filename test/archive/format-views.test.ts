import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { type RecordedKinds, recordedColumns } from '#src/augment/recorded.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import { CounterRng, STREAM } from '#src/core/philox.js';
import { imageFolder } from '#src/images/folder.js';
import { openImages } from '#src/images/open.js';
import { packImages } from '#src/images/packed/pack.js';
import { createLoader } from '#src/loader/loader.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { temporaryDirectory } from '../temporary.js';

/** The programs that docs/format.md prints, without a line of ours: the second makes the loader's views. */
const text = readFileSync(fileURLToPath(new URL('../../docs/format.md', import.meta.url)), 'utf8');
const programs = [...text.matchAll(/```python\n(.*?)```/gs)].map(([, code]) => code);

const directory = await temporaryDirectory();
writeFileSync(directory.path('reader.py'), programs[0] ?? '');
writeFileSync(directory.path('views.py'), programs[1] ?? '');

const [SAMPLES, EPOCHS, CLASSES] = [11, 3, 4];
const SIZE = [6, 5] as const;
const rng = new CounterRng(3);
const packed = directory.path('packed');

beforeAll(async () => {
  mkdirSync(directory.path('images'));
  for (let i = 0; i < SAMPLES; i++) {
    // From wider than `crop.ratio` allows to higher than it allows.
    const [height, width] = [5 + (i % 4) * 7, 40 - 3 * i];
    const pixels = Uint8Array.from(
      { length: height * width * 3 },
      (_, at) => rng.words(at, i, STREAM.training, 0)[0] >>> 24,
    );
    const file = directory.path(`images/${i + 10}.ppm`);
    writeFileSync(file, Buffer.concat([Buffer.from(`P6 ${width} ${height} 255\n`), pixels]));
  }
  await packImages({ images: await imageFolder(directory.path('images')), out: packed });
});

const DRAWN: AugmentationSpec = {
  ...{ generator: 'philox4x32-10', seed: 2 ** 40 + 5, size: SIZE, flip: 0.5 },
  crop: { scale: [0.2, 1], ratio: [3 / 4, 4 / 3] },
  mix: { kind: 'cutmix', alpha: 1, probability: 0.7 },
};

/** A row of each column with views of any kind, by the draws of the test. */
function recordedRow(epoch: number, kinds: RecordedKinds) {
  const columns = recordedColumns(SAMPLES, kinds);
  const row = Object.fromEntries(
    columns.map(({ name, rowBytes }) => [name, new DataView(new ArrayBuffer(rowBytes))]),
  );
  for (let s = 0; s < SAMPLES; s++) {
    const [a, b, c, d] = Float64Array.from(
      rng.words(s, epoch, STREAM.synthesis, 0),
      (w) => w / 2 ** 32,
    );
    for (const [i, share] of [a / 2, b / 2, c / 2 + 0.01, d / 2 + 0.01].entries()) {
      row.crop.setFloat32(16 * s + 4 * i, share, true);
    }
    row.flip.setUint8(s, a < 0.5 ? 1 : 0);
    row.partner.setUint32(4 * s, Math.floor(b * SAMPLES), true);
    const box = c < 0.5 ? [1, 2, 3, 2] : [0, 0, 0, 0];
    for (const [i, value] of box.entries()) row.box.setUint16(8 * s + 2 * i, value, true);
    row.weight.setFloat32(4 * s, c < 0.5 ? 1 : d, true);
  }
  return Object.fromEntries(
    Object.entries(row).map(([name, view]) => [name, new Uint8Array(view.buffer)]),
  );
}

async function compare(name: string, augmentation: object, kinds?: RecordedKinds): Promise<void> {
  const path = directory.path(name);
  const codec = new NoneCodec({ classes: CLASSES, tau: 1, store: 'logits' });
  {
    await using writer = await createArchive(path, {
      ...{ classes: CLASSES, samples: SAMPLES, epochs: EPOCHS, tau: 1 },
      ...{ codec: codec.parts(), layout: codec.layout, decoding: codec.decoding },
      ...{ augmentation: augmentation as never },
      ...(kinds && { columns: recordedColumns(SAMPLES, kinds) }),
    });
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const columns = kinds === undefined ? {} : recordedRow(epoch, kinds);
      const codes = new Uint8Array(2 * SAMPLES * CLASSES);
      await writer.writeRow(epoch, { codes, ...columns });
    }
    await writer.finish();
  }
  await using archive = await openArchive(path);
  const images = await openImages(packed);
  const normalisation = { mean: [0, 0, 0], std: [1, 1, 1] };
  const options = { archive, images, normalisation, batchSize: SAMPLES, workers: 0 };
  await using loader = createLoader({ ...options, shuffle: false });
  const expected: string[] = [];
  const labels: string[] = [];
  for await (const { epoch, sampleIds, xs } of loader) {
    const stride = xs.byteLength / sampleIds.length;
    for (const [i, sample] of sampleIds.entries()) {
      expected.push(Buffer.from(xs.buffer, xs.byteOffset + i * stride, stride).toString('hex'));
      labels.push(`${epoch}:${sample}`);
    }
  }
  expect(labels.length).toBe(EPOCHS * SAMPLES);
  const out = execFileSync('python3', [directory.path('views.py'), path, packed, ...labels], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
  expect(out.trim().split('\n')).toEqual(expected);
}

describe('the reader of views of docs/format.md gives the bytes of the loader', () => {
  test.each([
    ['CutMix', {}],
    ['CutMix of other shares', { mix: { kind: 'cutmix', alpha: 0.3, probability: 1 } }],
    ['mixup', { mix: { kind: 'mixup', alpha: 0.4, probability: 0.8 } }],
    ['shares of 0 and 1', { mix: { kind: 'cutmix', alpha: 1e-6, probability: 1 } }],
    [
      'no mixing, antialiased as in Pillow',
      { mix: { kind: 'none' }, resample: 'antialias', round: 'u8' },
    ],
    ['antialiased in floats', { resample: 'antialias' }],
    ['bilinear as in Pillow', { round: 'u8' }],
  ])('drawn: %s', (name, change) => compare(name, { ...DRAWN, ...change }));

  test('recorded: shares, CutMix and mixup', () =>
    compare(
      'recorded',
      { generator: 'recorded', size: SIZE },
      { crop: 'shares', flip: true, mix: 'both' },
    ));
});
