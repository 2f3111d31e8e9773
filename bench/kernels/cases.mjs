// One case: an operation on one workload by all contenders that support it, measured and checked.
import { ceilingOf } from './ceilings.mjs';
import { measure } from './measure.mjs';
import { CHECKED } from './oracle.mjs';
import { errorBound } from './settings.mjs';
import { verify } from './verify.mjs';

/**
 * Rows of results. `sources`: functions (op, workload, context) to { contenders, close }; `run`: threads, ceilings,
 * the array `out` that labels are decoded to, the processor's extensions, `skip(reason)`, and measure's options.
 */
export async function measureCase(op, workload, sources, run) {
  const name = `${op} (${workload.setting.name}), threads ${run.threads}`;
  const opened = [];
  const failed = (who, error) => run.skip(`${name}: ${who}${error.message}`);
  try {
    for (const source of sources) {
      try {
        opened.push(await source(op, workload, { ...run, checked: CHECKED }));
      } catch (error) {
        failed('', error);
      }
    }
    const contenders = opened.flatMap((source) => source.contenders);
    const onFailure = ({ impl }, error) => failed(`${impl}: `, error);
    const rows = [];
    for (const measured of await measure(contenders, { ...run, onFailure })) {
      try {
        rows.push(await rowOf(op, workload, measured, run));
      } catch (error) {
        onFailure(measured.contender, error);
      }
    }
    markLessExact(rows);
    return rows;
  } finally {
    for (const { close } of opened) await close();
  }
}

/** Rows of softpack whose error exceeds its bound, in words: the speed of a wrong result does not count. */
export function wrongResults(rows) {
  return rows.flatMap(({ op, impl, side, out, error }) => {
    if (side !== 'softpack') return [];
    const bound = errorBound(op, impl, out);
    // NaN is within no bound.
    if (error <= bound) return [];
    return [`WRONG: ${op}, ${impl}: error ${error.toExponential(1)}, at most ${bound} allowed`];
  });
}

async function rowOf(op, workload, { contender, batch, ...speed }, { threads, ceilings, out }) {
  const { dh, dc, k } = workload.setting;
  const { impl, side, work, out: outType = 'float32' } = contender;
  out.fill(Number.NaN);
  const errors = verify(op, workload, await contender.output(batch));
  const ceiling = ceilingOf(op, workload.setting, work, ceilings, outType);
  return {
    ...{ op, dh, dc, k, threads, impl, side, method: work, out: outType, batch },
    ...speed,
    ...errors,
    ...(ceiling && {
      ceiling: ceiling.name,
      ofCeiling: speed.labelsPerSecond / threads / ceiling.labelsPerSecond,
    }),
  };
}

/** A rival that is less exact than the fastest of softpack is not comparable. */
function markLessExact(rows) {
  const own = rows.filter(({ side, out }) => side === 'softpack' && out === 'float32');
  const [fastest] = own.sort((a, b) => b.labelsPerSecond - a.labelsPerSecond);
  for (const row of rows) {
    if (row.side === 'rival' && row.error > fastest?.error) row.lessExact = true;
  }
}
