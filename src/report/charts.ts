import type { CodewordUse } from './codewords.js';
import { type ComparedLabel, klBy } from './compare.js';
import type { BoundPoint } from './gaussian-bound.js';
import { type ChartSpec, extentOf, GREEN, logAxis, MAIN_COLOUR, OTHER_COLOUR } from './vega.js';

/** A chart with its words and its figures, which a page has as a table too. */
export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly spec: ChartSpec;
  readonly table: {
    readonly head: readonly string[];
    readonly rows: readonly (readonly string[])[];
  };
}

/** Rows of the tables; charts have all. */
const LISTED = 40;
const FRAME = { width: 'container', height: 260, autosize: { type: 'fit-x', contains: 'padding' } };
const kl = (value: number) => value.toExponential(2);

export function epochsChart(labels: readonly ComparedLabel[], word: 'epoch' | 'batch'): Chart {
  const groups = klBy(labels, 'row').map(({ key, ...group }) => ({ row: key, ...group }));
  const y = { field: 'kl', type: 'quantitative', title: 'mean KL, nats', scale: { zero: true } };
  return {
    id: 'epochs',
    title: `KL by ${word}`,
    caption: `Mean divergence of the decoded labels from the full ones, for each drawn ${word}.`,
    spec: {
      ...FRAME,
      data: { values: groups },
      mark: { type: 'line', point: { size: 50, filled: true }, color: MAIN_COLOUR },
      encoding: {
        x: {
          field: 'row',
          type: 'quantitative',
          title: word,
          axis: { grid: false, tickMinStep: 1 },
        },
        y,
        tooltip: tooltips(['row', word], ['kl', 'mean KL'], ['labels', 'labels']),
      },
    },
    table: {
      head: [word, 'labels', 'mean KL, nats'],
      rows: groups.map((group) => [String(group.row), String(group.labels), kl(group.kl)]),
    },
  };
}

/** The classes with the largest mean divergence. */
export function classesChart(
  labels: readonly ComparedLabel[],
  nameOf: (index: number) => string,
): Chart {
  const groups = klBy(labels, 'class')
    .toSorted((a, b) => b.kl - a.kl)
    .map(({ key, ...group }) => ({ name: nameOf(key), ...group }));
  const shown = groups.slice(0, 20);
  return {
    id: 'classes',
    title: 'KL by class',
    caption:
      `Classes by the full label's likeliest class; the ${shown.length} of ${groups.length} with the largest mean divergence. ` +
      'Classes of few labels come first by chance: see their number.',
    spec: {
      ...FRAME,
      height: 20 * shown.length + 10,
      data: { values: shown },
      encoding: {
        y: {
          ...{ field: 'name', type: 'nominal', sort: null, title: null },
          axis: { labelLimit: 110, domain: false, ticks: false },
        },
        x: { field: 'kl', type: 'quantitative', title: 'mean KL, nats', axis: { tickCount: 4 } },
        tooltip: tooltips(['name', 'class'], ['kl', 'mean KL'], ['labels', 'labels']),
      },
      layer: [{ mark: { type: 'bar', height: 12, color: MAIN_COLOUR } }],
    },
    table: {
      head: ['class', 'labels', 'mean KL, nats'],
      rows: groups
        .slice(0, LISTED)
        .map((group) => [group.name, String(group.labels), kl(group.kl)]),
    },
  };
}

/** Every compared label: a selection of them is summed up by the page. */
export function labelsChart(
  labels: readonly ComparedLabel[],
  nameOf: (index: number) => string,
  word: 'epoch' | 'batch',
): Chart {
  // Exact labels have no place on a logarithmic axis: they are shown at its lower end.
  const least = labels.reduce((low, label) => (label.kl > 0 ? Math.min(low, label.kl) : low), 1);
  const values = labels.map(({ row, position, class: index, confidence, kl: own }) => ({
    ...{ row, position, name: nameOf(index), confidence, kl: Math.max(own, least) },
  }));
  const confidences = values.map(({ confidence }) => confidence);
  const worst = [...values].sort((a, b) => b.kl - a.kl).slice(0, LISTED);
  return {
    id: 'labels',
    title: 'Every compared label',
    caption: 'Hover over a label for its place; drag a rectangle to sum up those inside.',
    spec: {
      ...FRAME,
      height: 320,
      data: { values },
      params: [{ name: 'brush', select: { type: 'interval', encodings: ['x', 'y'] } }],
      mark: { type: 'point', filled: true, size: 26, color: MAIN_COLOUR },
      encoding: {
        x: {
          ...{ field: 'confidence', type: 'quantitative' },
          ...confidenceScale(confidences),
          title: 'probability of the likeliest class',
        },
        y: {
          ...{ field: 'kl', type: 'quantitative', title: 'KL, nats' },
          ...{ scale: { type: 'log', nice: false }, axis: logAxis(values.map((each) => each.kl)) },
        },
        opacity: { condition: { param: 'brush', value: 0.7 }, value: 0.15 },
        tooltip: tooltips(['name', 'class'], ['row', word], ['position', 'sample'], ['kl', 'KL']),
      },
    },
    table: {
      head: [word, 'sample', 'likeliest class', 'KL, nats'],
      rows: worst.map((label) => [
        String(label.row),
        String(label.position),
        label.name,
        kl(label.kl),
      ]),
    },
  };
}

/** Logarithmic if probabilities differ much: few figures fit between those that differ little. */
function confidenceScale(values: readonly number[]) {
  const [low, high] = extentOf(values);
  if (high < 4 * low) return { scale: { zero: false }, axis: { grid: false, tickCount: 5 } };
  return { scale: { type: 'log', nice: false }, axis: logAxis(values, { grid: false }) };
}

export function codewordsChart(use: CodewordUse): Chart {
  const { codewords, used, indices, bits, entropy, counts } = use;
  // As many points as there are pixels.
  const step = Math.max(1, Math.floor(codewords / 512));
  const values = counts.flatMap((count, rank) =>
    rank % step === 0 ? [{ rank: rank + 1, share: (100 * count) / indices }] : [],
  );
  return {
    id: 'codewords',
    title: 'Codeword use',
    caption:
      `${used} of ${codewords} codewords occur in ${indices} indices. An index is stored in ${bits} bits; ` +
      `the entropy of their use is ${entropy.toFixed(2)} bits.`,
    spec: {
      ...FRAME,
      height: 200,
      data: { values },
      mark: { type: 'area', color: MAIN_COLOUR, line: true, opacity: 0.5, interpolate: 'step' },
      encoding: {
        x: {
          field: 'rank',
          type: 'quantitative',
          title: 'codeword, most used first',
          axis: { grid: false },
        },
        y: { field: 'share', type: 'quantitative', title: 'share of the indices, %' },
        tooltip: tooltips(['rank', 'rank'], ['share', 'share, %']),
      },
    },
    table: {
      head: ['rank', 'share of the indices, %'],
      rows: values.slice(0, LISTED).map(({ rank, share }) => [String(rank), share.toPrecision(3)]),
    },
  };
}

/** Rates of this archive's labels at their error: of codes alone, and of every byte on disk. */
export interface MeasuredRate {
  readonly name: string;
  readonly bits: number;
  readonly nmse: number;
}

export function rateChart(bound: readonly BoundPoint[], rates: readonly MeasuredRate[]): Chart {
  // Codecs without codes, such as means of classes, have no place on a logarithmic axis.
  const measured = rates.filter(({ bits }) => bits > 0);
  const curve = bound.filter(({ bits }) => bits > 0);
  const x = {
    ...{ field: 'bits', type: 'quantitative', title: 'bits per label' },
    ...{
      scale: { type: 'log', nice: false, padding: 16 },
      axis: logAxis(
        [...curve, ...measured].map((point) => point.bits),
        { grid: false },
      ),
    },
  };
  const y = {
    ...{ field: 'nmse', type: 'quantitative', title: 'error, share of the energy of logits' },
    ...{
      scale: { type: 'log', nice: false, padding: 8 },
      axis: logAxis([...curve, ...measured].map((point) => point.nmse)),
    },
  };
  const tooltip = tooltips(['bits', 'bits per label'], ['nmse', 'error']);
  return {
    id: 'rate',
    title: 'Rate and distortion',
    caption:
      'The line is the least rate at which Gaussian labels of this covariance can be told with the error, by the spectrum of a ' +
      'draw of full labels. It knows each label alone: codecs that predict labels from others of their image may pass it.',
    spec: {
      ...FRAME,
      layer: [
        {
          data: { values: curve },
          mark: { type: 'line', color: MAIN_COLOUR, strokeWidth: 2 },
          encoding: { x, y, tooltip },
        },
        {
          data: { values: measured },
          mark: { type: 'point', filled: true, size: 110, opacity: 1 },
          encoding: {
            x,
            y,
            color: { field: 'name', type: 'nominal', scale: { range: [OTHER_COLOUR, GREEN] } },
            tooltip: [{ field: 'name', title: 'archive' }, ...tooltip],
          },
        },
      ],
    },
    table: {
      head: ['', 'error', 'bits per label'],
      rows: [
        ...measured.map(({ name, nmse, bits }) => [name, nmse.toPrecision(3), bits.toPrecision(4)]),
        ...curve.map(({ nmse, bits }) => ['bound', nmse.toPrecision(3), bits.toPrecision(4)]),
      ],
    },
  };
}

function tooltips(...fields: readonly (readonly [field: string, title: string])[]) {
  return fields.map(([field, title]) => ({ field, title }));
}
