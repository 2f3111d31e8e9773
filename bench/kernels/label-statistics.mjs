// Concentration of labels, which decides between sparse and dense encoding and shows how realistic generated labels are.

import { REAL } from './labels.mjs';
import { CLASSES, LOW_TAU, TAU } from './settings.mjs';
import { median } from './statistics.mjs';

const ROWS = 1024;

/** Statistics of the first labels, relative to the number of classes, the value of a uniform label. */
export function labelStatistics(labels, classes) {
  let [entropy, top1, top10] = [0, 0, 0];
  const entries99 = [];
  for (let i = 0; i < ROWS; i++) {
    const row = labels
      .slice(i * classes, (i + 1) * classes)
      .sort()
      .reverse();
    let mass = 0;
    let entries = 0;
    for (const [j, y] of row.entries()) {
      if (mass < 0.99) entries = j + 1;
      mass += y;
      if (y > 0) entropy -= y * Math.log(y);
      if (j === 0) top1 += mass;
      if (j === 9) top10 += mass;
    }
    entries99.push(entries);
  }
  return {
    perplexity: Math.exp(entropy / ROWS) / classes,
    top1: top1 / ROWS,
    top10: top10 / ROWS,
    entries99: median(entries99) / classes,
  };
}

/** Rows of generated labels next to the real ones that the generator was fitted to. */
export function describeLabels({ labels, lowLabels }) {
  const rows = {};
  for (const [tau, generated] of [
    [TAU, labels],
    [LOW_TAU, lowLabels],
  ]) {
    rows[`tau ${tau}, generated`] = labelStatistics(generated, CLASSES);
    rows[`tau ${tau}, a real teacher's`] = REAL[tau];
  }
  return rows;
}
