// Goals, in the order of the settings, on one thread with float32 output.
import { SETTINGS } from './settings.mjs';

/**
 * Ratios of the fastest of `ours` to the fastest of `rivals`, by contenders' names. A rival whose error exceeds
 * `rivalError` does not count. A ratio to the best of all rivals does not count without PyTorch, which usually is the best.
 */
const RATIOS = [
  {
    name: 'decode fast / onnxruntime',
    op: 'decode',
    ours: /^softpack fast/,
    rivals: /^onnxruntime/,
    goals: [2, 4, 7, 10, 25, 40],
  },
  {
    name: 'decode fast / strongest of all',
    op: 'decode',
    ours: /^softpack fast/,
    rivals: /./,
    needed: /^torch/,
    goals: [2, 2, 2.2, 2.5, 3.5, 3.5],
  },
  {
    name: 'decode exact / best float32 rival',
    op: 'decode',
    ours: /^softpack (exact|split)/,
    rivals: /./,
    needed: /^torch/,
    rivalError: 1e-5,
    goals: [1.15, 1.5, 3, 4, 5, 4],
  },
  {
    name: 'encode / best rival',
    op: 'encode',
    ours: /^softpack/,
    rivals: /./,
    needed: /^torch/,
    goals: [7, 3, 3, 2, 1.2, 1.05],
  },
  {
    name: 'decode_kl / torch decode + KL + backward',
    op: 'decode_kl',
    ours: /^softpack fast/,
    rivals: /^torch/,
    goals: [2, 2, 3, 4, 6, 8],
  },
];

/** Most microseconds that a call of `ours` may take. */
const LATENCIES = [
  {
    name: 'decode of one label, at most',
    op: 'decode-one',
    ours: /^softpack/,
    goals: [undefined, undefined, 10, 10, 10, 10],
  },
];

/** Goals with a cell per setting: goal, result by the clock and by processor time, and the contenders compared. */
export function goalResults(rows) {
  const results = (goals, cellOf) =>
    goals.map((goal) => ({
      name: goal.name,
      cells: SETTINGS.map((setting, i) =>
        cellOf(goal, goal.goals[i], rowsOf(rows, goal.op, setting)),
      ),
    }));
  return [...results(RATIOS, ratioCell), ...results(LATENCIES, latencyCell)];
}

/** What `fastest` must reach of the best method that it may choose. */
const LEAST_CHOICE = 0.8;

/** For each setting that was decoded, whether `fastest` chose well, by processor time. */
export function methodChoices(rows) {
  const decoded = rows.filter(
    ({ op, side, out }) => op === 'decode' && side === 'softpack' && out === 'float32',
  );
  return decoded
    .filter(({ impl }) => impl === 'softpack fastest')
    .map(({ dc, k, threads, method: chosen }) => {
      const own = decoded.filter((row) => row.dc === dc && row.k === k && row.threads === threads);
      const best = fastest(own, 'labelsPerCpuSecond');
      // The same method may be there twice, as the choice of another precision, too.
      const of = own.filter(({ method }) => method === chosen);
      const speed = 'labelsPerCpuSecond';
      const share = fastest(of, speed)[speed] / best[speed];
      const wrong = share < LEAST_CHOICE;
      const text = `fastest at (${dc},${k}), threads ${threads}: ${chosen}, ${share.toFixed(2)} of ${best.method}`;
      return { wrong, text: wrong ? `WRONG CHOICE: ${text}` : text };
    });
}

function ratioCell({ ours, rivals, needed = rivals, rivalError = Infinity }, goal, rows) {
  const own = rows.filter(({ side, impl }) => side === 'softpack' && ours.test(impl));
  const others = rows.filter(
    ({ side, impl, error }) => side === 'rival' && rivals.test(impl) && error <= rivalError,
  );
  const complete = others.some(({ impl }) => needed.test(impl));
  if (own.length === 0 || !complete) return { goal, unit: 'x' };
  const best = fastest(own, 'labelsPerSecond');
  const rival = fastest(others, 'labelsPerSecond');
  const ratio = (speed) => fastest(own, speed)[speed] / fastest(others, speed)[speed];
  const reached = ratio('labelsPerSecond');
  // Other load on the machine does not count.
  const byCpuTime = ratio('labelsPerCpuSecond');
  return {
    ...{ goal, unit: 'x', reached, byCpuTime, missed: byCpuTime < goal },
    ...{ ours: best.impl, rival: rival.impl, limit: limitOf(best) },
  };
}

function latencyCell({ ours }, goal, rows) {
  const own = rows.filter(({ side, impl }) => side === 'softpack' && ours.test(impl));
  if (own.length === 0) return { goal, unit: ' us' };
  const best = fastest(own, 'labelsPerSecond');
  const reached = 1e6 / best.labelsPerSecond;
  const byCpuTime = 1e6 / fastest(own, 'labelsPerCpuSecond').labelsPerCpuSecond;
  return { goal, unit: ' us', reached, byCpuTime, missed: byCpuTime > goal, ours: best.impl };
}

function rowsOf(rows, op, { dc, k }) {
  return rows.filter(
    (row) =>
      row.op === op && row.dc === dc && row.k === k && row.threads === 1 && row.out === 'float32',
  );
}

function fastest(rows, speed) {
  return rows.reduce((best, row) => (row[speed] > best[speed] ? row : best));
}

function limitOf({ ceiling, ofCeiling }) {
  return ceiling === undefined ? undefined : `${Math.round(100 * ofCeiling)} % of ${ceiling}`;
}
