import { describe, expect, it } from 'vitest';
import type { CodecChoice } from '#src/codecs/registry.js';
import { NpyWriter } from '#src/labels/npy.js';
import { type LabelShape, memoryLabelSource } from '#src/labels/source.js';
import { appendLabels } from '#src/pipeline/append.js';
import { packLogits } from '#src/pipeline/pack.js';
import { labelsChart } from '#src/report/charts.js';
import { reportPage } from '#src/report/page.js';
import { archiveReport, openReport } from '#src/report/report.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();

it('a chart has room for more labels than a call takes arguments', () => {
  const label = { row: 0, position: 0, class: 0, confidence: 0.5, kl: 1e-3 };
  const labels = new Array(2 ** 18).fill(label).concat({ ...label, confidence: 0.01, kl: 2 });
  const { table } = labelsChart(labels, String, 'epoch');
  expect(table.rows[0]).toEqual(['0', '0', '0', '2.00e+0']);
});

describe('odd archives', () => {
  /** The report of labels packed by a codec, next to the labels themselves. */
  async function reportOf(name: string, shape: LabelShape, codec: CodecChoice) {
    const { epochs, samples, classes } = shape;
    const logits = Float32Array.from({ length: epochs * samples * classes }, (_, i) => Math.sin(i));
    for (const [out, choice] of [
      [`${name}-full`, { name: 'none' }],
      [name, codec],
    ] as const) {
      const source = memoryLabelSource(logits, shape);
      await packLogits({ source, out: directory.path(out), codec: choice, labels: 'logits' });
    }
    const options = { full: directory.path(`${name}-full`) };
    await using open = await openReport(directory.path(name), options);
    const report = await archiveReport(open, options);
    return { report, page: await reportPage(report) };
  }

  it('of one label of one class have no divergence to draw', async () => {
    const shape = { epochs: 1, samples: 1, classes: 1 };
    const { report, page } = await reportOf('one', shape, { name: 'none' });
    expect(report.charts).toEqual([]);
    expect(report.divergence).toMatchObject({ kl: 0, top1: 1, labels: 1 });
    expect(page).toContain('are those of the full archive, exactly');
    expect(report.examples).toHaveLength(1);
  });

  it('without codes have no point on an axis of bits', async () => {
    const shape = { epochs: 2, samples: 9, classes: 5 };
    const { report, page } = await reportOf('means', shape, { name: 'mean' });
    const rate = report.charts.find(({ id }) => id === 'rate');
    const points = rate?.table.rows.filter(([name]) => name !== 'bound').map(([name]) => name);
    expect(points).toEqual(['whole archive']);
    expect(page).not.toContain('Infinity');
  });

  it('grown by labels without views are compared with logits of their own epochs', async () => {
    const shape = { epochs: 5, samples: 6, classes: 4 };
    const width = shape.samples * shape.classes;
    const logits = Float32Array.from({ length: 5 * width }, (_, i) => 3 * Math.sin(i * i));
    const file = async (name: string, epochs: number) => {
      await using writer = await NpyWriter.create(directory.path(name), [epochs, 6, 4]);
      await writer.write(logits.subarray(0, epochs * width));
      await writer.finish();
      return directory.path(name);
    };
    const [all, short] = [await file('all.npy', 5), await file('short.npy', 3)];
    const [grown, codec] = [directory.path('grown'), { name: 'topk', k: 2 } as const];
    await packLogits({ source: short, out: grown, codec, tau: 2 });
    const last = memoryLabelSource(logits.slice(3 * width), { ...shape, epochs: 2 });
    await appendLabels({ archive: grown, source: last, add: 'epochs' });

    await using open = await openReport(grown, { full: all });
    const { divergence, examples } = await archiveReport(open, { full: all });
    let kl = 0;
    for (let epoch = 0; epoch < 5; epoch++) {
      const q = await open.archive.labels(epoch, { start: 0, count: 6 });
      for (let sample = 0; sample < 6; sample++) {
        const at = sample * 4;
        const z = [...logits.subarray(epoch * width + at, epoch * width + at + 4)];
        const sum = z.reduce((total, value) => total + Math.exp(value / 2), 0);
        for (const [j, value] of z.entries()) {
          const p = Math.exp(value / 2) / sum;
          kl += (p * Math.log(p / q[at + j])) / 30;
        }
      }
    }
    expect(divergence?.labels).toBe(30);
    expect(divergence?.kl).toBeCloseTo(kl, 6);
    expect(examples.every(({ row, epoch }) => row === epoch)).toBe(true);
    // An archive is what it was packed from in the same sense, however many parts it has.
    await using same = await openReport(grown, { full: grown });
    const own = await archiveReport(same, { full: grown });
    expect(own.divergence).toMatchObject({ kl: 0, labels: 30 });
    // Labels of the epochs that a file lacks are refused, not taken from others.
    await using less = await openReport(grown, { full: short });
    await expect(archiveReport(less, { full: short })).rejects.toThrow('labels of epoch 3');
  });

  it('are refused with files of probabilities that are not called so, or of other shapes', async () => {
    const source = memoryLabelSource(Float32Array.from([0, 1, 2, 3, 1, 0]), {
      ...{ epochs: 1, samples: 2, classes: 3 },
    });
    const out = directory.path('small');
    await packLogits({ source, out, codec: { name: 'topk', k: 1 }, tau: 1, labels: 'logits' });
    const write = async (name: string, shape: readonly number[], values: readonly number[]) => {
      await using writer = await NpyWriter.create(directory.path(name), [...shape]);
      await writer.write(Float32Array.from(values));
      await writer.finish();
      return directory.path(name);
    };
    const p = await write('p.npy', [1, 2, 3], [0.5, 0.25, 0.25, 0, 1, 0]);
    await expect(openReport(out, { full: p })).rejects.toThrow('look like probabilities');
    await using open = await openReport(out, { full: p, fullFile: { kind: 'probabilities' } });
    const [first] = (await archiveReport(open, { examples: 1 })).examples;
    expect(Math.exp(first.classes[0].full ?? 0)).toBeCloseTo(first.sample === 0 ? 0.5 : 1, 6);
    const wide = await write('wide.npy', [1, 2, 4], [0, 1, 2, 3, 4, 5, 6, 7]);
    await expect(openReport(out, { full: wide })).rejects.toThrow('expected 3 classes, found 4');
    await expect(openReport(out, { fullFile: { tensor: 'x' } })).rejects.toThrow('--full');
  });
});
