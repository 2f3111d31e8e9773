import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { NpyWriter } from '#src/labels/npy.js';
import { packLogits } from '#src/pipeline/pack.js';
import { pilotLabels } from '#src/pipeline/pilot.js';
import { softpack } from '../cli/softpack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [epochs, samples, classes] = [20, 60, 30];
const logits = directory.path('logits.npy');
{
  await using writer = await NpyWriter.create(logits, [epochs, samples, classes]);
  await writer.write(syntheticLogits(epochs * samples, classes));
  await writer.finish();
}
const codec = { name: 'transform', totalRatio: 3 } as const;

test('a pilot finds what packing does, predicts its size, and writes nothing', async () => {
  const found = await pilotLabels({ source: logits, codec, keep: 'auto', tau: 4 });
  expect(await readdir(directory.path('.'))).toEqual(['logits.npy']);
  const out = directory.path('packed');
  const packed = await packLogits({ source: logits, out, codec, keep: 'auto', tau: 4 });
  expect(found.codec).toEqual(packed.codec);
  expect(found.pilot).toEqual(packed.pilot);
  expect(found.weighed).toEqual(packed.weighed);
  expect(found).toMatchObject({ epochs, samples, classes, storedEpochs: packed.storedEpochs });
  const { total } = packed.bytes;
  // Notes in the manifest and offsets of blocks are predicted to half a kB.
  expect(Math.abs(found.bytes.total - total)).toBeLessThan(0.01 * total + 512);
  expect(packed.ratio.total).toBeGreaterThanOrEqual(codec.totalRatio);
});

test('softpack plan --labels tells it, with the bound and the teacher', async () => {
  const args = ['plan', '--labels', logits, '--ratio', '3', '--tau', '4'];
  const json = await softpack([...args, '--teacher-parameters', '5000', '--json']);
  expect(json).toMatchObject({ code: 0 });
  const found = JSON.parse(json.out);
  expect(found).toMatchObject({ epochs, classes, codec: { name: 'transform' } });
  expect(found.pilot.gaussianBits).toBeGreaterThan(0);
  expect(found.teacherInt8).toEqual({ bytes: 5000, archives: 5000 / found.bytes.total });
  const text = await softpack(args);
  expect(text.out).toContain('Gaussian bound R(D)');
});

test.each([
  [['--labels', logits, '--codec', 'vqae', '--ratio', '3'], 'codec'],
  [['--labels', logits], '--ratio'],
  [['--labels', logits, '--ratio', '3', '--kl', '1'], '--ratio'],
  [['--classes', '10', '--ipc', '1', '--kl', '1'], '--labels'],
  [['--classes', '10'], '--ipc'],
  [['--classes', '10', '--ipc', '1', '--ratio', '3', '--rate', '4'], '--ratio'],
] as const)('softpack plan %j is refused, naming %s', async (args, named) => {
  const run = await softpack(['plan', ...args]);
  expect(run.code).not.toBe(0);
  expect(run.err).toContain(`${named}:`);
});
