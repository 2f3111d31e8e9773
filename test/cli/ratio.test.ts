import { describe, expect, test } from 'vitest';
import { NpyWriter } from '#src/labels/npy.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { packLogits } from '#src/pipeline/pack.js';
import { planLabels } from '#src/planner/plan.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const [EPOCHS, IPC, CLASSES] = [60, 2, 90];
const SAMPLES = IPC * CLASSES;
const shape = { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES };
const temporary = await temporaryDirectory();
const values = syntheticLogits(EPOCHS * SAMPLES, CLASSES);
const source = memoryLabelSource(values, shape);
const logits = temporary.path('logits.npy');
{
  await using writer = await NpyWriter.create(logits, [EPOCHS, SAMPLES, CLASSES]);
  await writer.write(values);
  await writer.finish();
}
const training = { steps: 5, batch: 64 };

describe('--ratio counts the whole archive', () => {
  test.each([
    ['vqae', 20],
    ['vqae', 8.5],
    ['topk', 12],
    ['pca', 7],
    ['vq', 25],
    ['scalar', 5],
  ])('%s at %s', async (codec, ratio) => {
    const out = temporary.path(`${codec} at ${ratio}`);
    const args = ['pack', logits, '--codec', codec, '--ratio', `${ratio}`, '--out', out];
    const run = await softpack([...args, '--steps', '5', '--json']);
    expect(run).toMatchObject({ code: 0 });
    const packed = JSON.parse(run.out);
    expect(packed.ratio.total).toBeGreaterThanOrEqual(ratio);
    // And the plan of as many labels names the same parameters.
    const request = { classes: CLASSES, ipc: IPC, epochs: EPOCHS, imageBytes: 1, batch: 64 };
    const { codecs } = planLabels({ ...request, ratio });
    const planned = codecs.find(({ name }) => name === codec);
    for (const [name, value] of Object.entries(packed.codec.config)) {
      if (!['dh', 'dc', 'k', 'levels'].includes(name)) continue;
      expect(planned?.parameters).toContain(`${name} ${value}`);
    }
  });

  test('and an archive that outgrows its labels is told of', async () => {
    const few = temporary.path('few.npy');
    await using writer = await NpyWriter.create(few, [1, 4, 3]);
    await writer.write(Float32Array.from({ length: 12 }, (_, i) => i % 5));
    await writer.finish();
    for (const [name, k, warns] of [
      ['topk', ['--k', '2'], true],
      ['none', [], false],
    ] as const) {
      const out = temporary.path(`few-${name}`);
      const codec = ['--codec', name, ...k, '--tau', '1'];
      const run = await softpack(['pack', few, ...codec, '--out', out, '--json']);
      expect(run).toMatchObject({ code: 0 });
      const [, times] = /the archive is (\S+) times larger than its labels/.exec(run.err) ?? [];
      const { bytes } = JSON.parse(run.out) as { readonly bytes: { readonly total: number } };
      expect(times).toBe(warns ? (bytes.total / (2 * 12)).toFixed(1) : undefined);
    }
  });

  test('with everything that a manifest may say', async () => {
    const packed = await packLogits({
      ...{ source, out: temporary.path('known'), codec: { totalRatio: 18 }, training },
      classNames: Array.from({ length: CLASSES }, (_, i) => `a class with a long name ${i}`),
      teacher: { words: 'x'.repeat(3000) },
      images: { words: 'y'.repeat(3000) },
      augmentation: { words: 'z'.repeat(3000) },
    });
    expect(packed.ratio.total).toBeGreaterThanOrEqual(18);
  });

  test('of pruned labels, and forms of a codec', async () => {
    const packed = await packLogits({
      ...{ source, out: temporary.path('pruned'), training },
      codec: { name: 'topk', totalRatio: 30, values: 'logits', rest: 'zero' },
      prune: { ratio: 3, batchSize: 20 },
    });
    expect(packed.ratio.total).toBeGreaterThanOrEqual(30);
    expect(packed.codec.config).toMatchObject({ values: 'logits', rest: 'zero' });
  });

  test('wastes little of what was allowed', async () => {
    const codec = { name: 'topk', totalRatio: 6 };
    const { ratio } = await packLogits({ source, out: temporary.path('close'), codec, training });
    expect(ratio.total).toBeLessThan(7.5);
  });
});

describe('a ratio out of reach', () => {
  test('is refused with the highest one, which is then reached', async () => {
    const out = temporary.path('far');
    const args = ['pack', logits, '--codec', 'scalar', '--out', out, '--ratio'];
    const run = await softpack([...args, '200']);
    expect(run).toMatchObject({ code: 2, out: '' });
    const highest = /at most ([\d.]+)/.exec(run.err)?.[1] ?? '';
    expect(Number(highest)).toBeGreaterThan(10);
    expect(await softpack([...args, highest])).toMatchObject({ code: 0 });
  });

  test.each([['0.5'], ['0'], ['-3'], ['ten'], ['']])('%s is none', async (ratio) => {
    const run = await softpack(['pack', logits, '--ratio', ratio, '--out', temporary.path('none')]);
    expect(run).toMatchObject({ code: 2, out: '' });
    expect(run.err).toContain('ratio');
  });

  test('says so if the files of an archive are larger than the labels', async () => {
    const few = memoryLabelSource(values.slice(0, 200), { epochs: 1, samples: 20, classes: 10 });
    const out = temporary.path('few');
    const call = packLogits({ source: few, out, codec: { totalRatio: 2 }, training });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'ratio' });
    await expect(call).rejects.toThrow('more labels');
  });
});
