import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { optionalPackage } from '../core/optional-package.js';

/** Charts by Vega-Lite: an optional package, loaded when a chart is drawn. */

/** A chart as Vega-Lite describes it. */
export type ChartSpec = Readonly<Record<string, unknown>>;

/** `currentColor` is the page's text colour, so that one chart is legible in light and dark. */
const INK = 'currentColor';
/** Okabe and Ito's colours, distinguishable for colour-blind readers, on white and on black, and one of Tol's. */
export const SERIES_COLOURS = [
  '#0072b2',
  '#e69f00',
  '#009e73',
  '#cc79a7',
  '#d55e00',
  '#56b4e9',
  '#8c8c00',
  '#999999',
  '#aa4499',
] as const;
/** Legible on white and on black. */
export const MAIN_COLOUR = '#3987c6';
export const OTHER_COLOUR = '#d98c00';
export const GREEN = '#009e73';

const CONFIG = {
  background: 'transparent',
  font: 'system-ui, sans-serif',
  view: { stroke: null },
  axis: {
    labelColor: INK,
    titleColor: INK,
    domainColor: INK,
    tickColor: INK,
    gridColor: '#8884',
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    labelOverlap: 'greedy',
  },
  legend: { labelColor: INK, titleColor: INK, labelFontSize: 12, orient: 'top', title: null },
  text: { color: INK, fill: INK },
} as const;

/** The least and the largest value of any number of them: a call takes some 100,000 arguments at most. */
export function extentOf(values: readonly number[]): readonly [low: number, high: number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** An axis of a logarithmic scale: figures at 1, 2 and 5 times the powers of ten, which are few enough to read. */
export function logAxis(values: readonly number[], options: ChartSpec = {}): ChartSpec {
  const [low, high] = extentOf(values.filter((value) => value > 0));
  const decades = Math.log10(high / low);
  const steps = decades > 3 ? [1] : decades > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)) - 1; 10 ** power <= high * 10; power++) {
    ticks.push(...steps.map((step) => Number((step * 10 ** power).toPrecision(3))));
  }
  return { values: ticks, labelExpr: FIGURES, ...options };
}

/** No SI prefixes below 1: 0.01, not 10m. */
const FIGURES =
  "format(datum.value, datum.value < 0.001 ? '~e' : datum.value < 1000 ? '~r' : '~s')";

/** The parts of the packages that are used here; their types are not at hand where they are not installed. */
interface VegaLite {
  compile(spec: ChartSpec): { readonly spec: object };
}
interface Vega {
  parse(spec: object): object;
  readonly View: new (
    runtime: object,
    options: object,
  ) => { toSVG(): Promise<string>; finalize(): void };
}

/** Vega's own form of a chart, which its runtime draws. */
export async function compileChart(spec: ChartSpec): Promise<object> {
  const { compile } = await optionalPackage<VegaLite>('vega-lite', 'Charts');
  return compile({ ...spec, config: CONFIG }).spec;
}

/** The chart as an SVG element. */
export async function chartSvg(spec: ChartSpec): Promise<string> {
  const compiled = await compileChart(spec);
  const vega = await optionalPackage<Vega>('vega', 'Charts');
  const view = new vega.View(vega.parse(compiled), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** The script that draws compiled charts in a page, 520 kB. */
export async function vegaRuntime(): Promise<string> {
  return optionalPackage('vega', 'Charts', async () => {
    // The package exports its modules alone; the script for browsers lies next to them.
    const script = new URL('vega.min.js', import.meta.resolve('vega'));
    const text = await readFile(fileURLToPath(script), 'utf8');
    return text
      .replace(/\n?\/\/# sourceMappingURL=.*\s*$/, '')
      .replaceAll('</script', '<\\/script');
  });
}
