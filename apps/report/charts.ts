import { formatBytes } from '#src/core/format.js';
import { chartSvg, extentOf, logAxis, SERIES_COLOURS } from '#src/report/vega.js';

/** Lines that cross stay apart in black and white too. */
const SERIES_SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'cross', 'triangle-down'];

export interface CurvePoint {
  readonly series: string;
  readonly x: number;
  readonly y: number;
}

export interface CurveOptions {
  readonly x: string;
  readonly y: string;
  readonly logY?: boolean;
  readonly width?: number;
  readonly height?: number;
}

/** Lines, one per series, as an SVG element. */
export function lineChart(
  points: readonly CurvePoint[],
  { x, y, logY = false, width = 420, height = 220 }: CurveOptions,
): Promise<string> {
  const series = [...new Set(points.map((point) => point.series))];
  return chartSvg({
    width,
    height,
    data: { values: [...points] },
    mark: { type: 'line', strokeWidth: 1.8, clip: true },
    encoding: {
      x: { field: 'x', type: 'quantitative', title: x, axis: { grid: false } },
      y: {
        field: 'y',
        type: 'quantitative',
        title: y,
        scale: logY ? { type: 'log', nice: false } : { zero: false },
        ...(logY ? { axis: logAxis(points.map((point) => point.y)) } : {}),
      },
      color: {
        field: 'series',
        type: 'nominal',
        scale: { domain: series, range: SERIES_COLOURS.slice(0, series.length) },
        legend: series.length > 1 ? {} : null,
      },
    },
  });
}

export interface MeasuredPoint extends CurvePoint {
  /** Standard deviation of y, if it was measured more than once. */
  readonly deviation?: number;
}

export interface MeasuredOptions extends CurveOptions {
  readonly logX?: boolean;
  /** Positions of the axis labels. */
  readonly xValues?: readonly number[];
  /** Number of the colour of a series; series of one method share theirs. Default: one each. */
  readonly colourOf?: (series: string) => number;
}

/** Measured points joined by lines, one per series, with error bars of one standard deviation. */
export function measuredChart(
  points: readonly MeasuredPoint[],
  options: MeasuredOptions,
): Promise<string> {
  const series = [...new Set(points.map((point) => point.series))];
  const {
    x,
    y,
    logX = false,
    logY = false,
    xValues,
    width = 520,
    height = 300,
    colourOf = (name) => series.indexOf(name),
  } = options;
  const values = points.map((point) => ({
    ...point,
    low: point.y - (point.deviation ?? 0),
    high: point.y + (point.deviation ?? 0),
  }));
  const xAxis = { grid: false, ...(xValues === undefined ? {} : { values: [...xValues] }) };
  const colours = series.map((name) => SERIES_COLOURS[colourOf(name) % SERIES_COLOURS.length]);
  const colour = { domain: series, range: colours };
  // Series of one colour differ in shape.
  const shapes = colours.map((own, i) => colours.slice(0, i).filter((each) => each === own).length);
  const shape = { domain: series, range: shapes.map((i) => SERIES_SHAPES[i % 6]) };
  const legend = series.length > 1 ? { columns: 3, symbolOpacity: 1, labelLimit: 0 } : null;
  return chartSvg({
    width,
    height,
    data: { values },
    encoding: {
      x: {
        field: 'x',
        type: 'quantitative',
        title: x,
        scale: logX ? { type: 'log', nice: false, padding: 12 } : { zero: false, padding: 12 },
        axis: xAxis,
      },
      color: { field: 'series', type: 'nominal', scale: colour, legend },
    },
    layer: [
      {
        mark: { type: 'line', strokeWidth: 1.8 },
        encoding: {
          y: {
            field: 'y',
            type: 'quantitative',
            title: y,
            scale: logY ? { type: 'log', nice: false, padding: 8 } : { zero: false, padding: 8 },
            ...(logY ? { axis: logAxis(points.map((point) => point.y)) } : {}),
          },
        },
      },
      {
        mark: { type: 'point', filled: true, size: 60, opacity: 1 },
        encoding: {
          y: { field: 'y', type: 'quantitative' },
          shape: { field: 'series', type: 'nominal', scale: shape, legend },
        },
      },
      {
        mark: { type: 'rule', strokeWidth: 1.2 },
        encoding: { y: { field: 'low', type: 'quantitative' }, y2: { field: 'high' } },
      },
    ],
  });
}

export interface Quantity {
  readonly name: string;
  readonly bytes: number;
}

/** Sizes that differ by orders of magnitude: dots on a logarithmic axis, each with its figure. */
export function bytesChart(quantities: readonly Quantity[], width = 420): Promise<string> {
  const values = quantities
    .filter(({ bytes }) => bytes > 0)
    .map(({ name, bytes }) => ({ name, bytes, text: formatBytes(bytes) }));
  const y = { field: 'name', type: 'nominal', sort: null, title: null } as const;
  const [low, high] = extentOf(values.map(({ bytes }) => bytes));
  const domain = [low / 2, high * 6];
  return chartSvg({
    width,
    height: { step: 30 },
    data: { values },
    encoding: {
      y: { ...y, axis: { domain: false, ticks: false, grid: true } },
      x: {
        field: 'bytes',
        type: 'quantitative',
        title: 'bytes (logarithmic)',
        scale: { type: 'log', domain, nice: false },
        axis: { format: '~s', tickCount: 6, grid: false },
      },
    },
    layer: [
      { mark: { type: 'point', filled: true, size: 90, opacity: 1, color: SERIES_COLOURS[0] } },
      {
        mark: { type: 'text', align: 'left', dx: 10, fontSize: 12 },
        encoding: { text: { field: 'text', type: 'nominal' } },
      },
    ],
  });
}
