// The committed results of this kind of processor: what they say next to a run, and how a run is added to them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { processorSlug } from './machine.mjs';
import { median } from './statistics.mjs';

/** { file, results } of this kind of processor, or { others: files of other kinds }. */
export function committedResults(folder, machine) {
  const file = `${processorSlug(machine)}.json`;
  try {
    return { file, results: JSON.parse(readFileSync(join(folder, file), 'utf8')) };
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    const kinds = readdirSync(folder).filter((name) => /-\d+-\d+\.json$/.test(name));
    return { others: kinds };
  }
}

/** First lines of a run: what there is to compare it with, and this machine's ceilings as shares of those. */
export function standing({ file, results, others }, ceilings) {
  if (results === undefined) {
    return [`no committed results of this kind of processor; of others: ${others.join(', ')}`];
  }
  const known = results.ceilings.find(({ threads }) => threads === 1);
  const shares = Object.entries(ceilings ?? {})
    .filter(([name]) => known?.[name] > 0)
    .map(([name, value]) => `${name} ${(value / known[name]).toFixed(2)}`);
  const lines = [
    `committed results of this kind of processor: bench/results/${file}, ${results.date}`,
  ];
  if (shares.length > 0)
    lines.push(`ceilings of one thread, as shares of theirs: ${shares.join(', ')}`);
  return lines;
}

/** What a row reaches of the committed row of the same case, by processor time; undefined without one. */
export function ofCommitted(row, { results }) {
  const same = results?.rows.find(
    (other) => caseOf(other) === caseOf(row) && other.impl === row.impl,
  );
  return same && row.labelsPerCpuSecond / same.labelsPerCpuSecond;
}

/** Last lines of a run: the median of these shares by operation. */
export function summary(rows, committed) {
  const ours = rows.filter(({ side }) => side === 'softpack');
  return [...new Set(ours.map(({ op }) => op))].flatMap((op) => {
    const shares = ours.filter((row) => row.op === op).map((row) => ofCommitted(row, committed));
    const known = shares.filter((share) => share !== undefined);
    if (known.length === 0) return [];
    const low = Math.min(...known).toFixed(2);
    const high = Math.max(...known).toFixed(2);
    const rows = known.length === 1 ? 'row' : 'rows';
    return [
      `${op}: ${median(known).toFixed(2)} of the committed speed (${low} to ${high}, ${known.length} ${rows})`,
    ];
  });
}

/** A run's results with the committed cases that it did not measure. */
export function merged(run, { results: known }) {
  const rows = run.rows.map((row) => ({ ...row, date: run.date }));
  if (known === undefined) return { ...run, rows };
  const measured = new Set(rows.map(caseOf));
  const kept = known.rows
    .filter((row) => !measured.has(caseOf(row)))
    .map((row) => ({ ...row, date: row.date ?? known.date }));
  const either = (field) => [...new Set([...run[field], ...known[field]])];
  const { length } = Object.keys(run.labels);
  return {
    ...run,
    versions: either('versions'),
    ceilings: run.ceilings.length > 0 ? run.ceilings : known.ceilings,
    labels: length > 0 ? run.labels : known.labels,
    rows: [...rows, ...kept],
  };
}

function caseOf({ op, dc, k, setting, threads }) {
  return [op, setting ?? `${dc},${k}`, threads].join('/');
}
