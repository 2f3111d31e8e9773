import { describe, expect, it } from 'vitest';
import type { CodecChoice } from '#src/codecs/registry.js';
import { type LabelShape, memoryLabelSource } from '#src/labels/source.js';
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
});
