// Coding of streams and labels of tokens, on one thread: contenders are timed like those of the other kernels, in turns.
import { measure } from '../measure.mjs';
import { openRans } from './rans.mjs';
import { openTokens } from './tokens.mjs';

const WORKLOADS = [
  { ops: ['rans-decode', 'rans-encode'], open: openRans },
  ...[49_152, 151_936, 262_144].map((vocabulary) => ({
    ops: ['tokens-decode', 'tokens-encode', 'tokens-list'],
    open: (kernels, context) => openTokens(kernels, { vocabulary, ...context }),
  })),
];

/**
 * Rows of results, a case at a time, of the operations that `options.streams` has. `context`: `skip(reason)`,
 * `version(line)`, the `reference` kernels.
 */
export async function* measureStreams(kernels, options, context) {
  for (const { ops, open } of WORKLOADS) {
    const asked = ops.filter((op) => options.streams.includes(op));
    if (asked.length === 0) continue;
    console.error(`input of ${asked.join(', ')}`);
    const workload = await open(kernels, context);
    try {
      for (const version of workload.versions) context.version(version);
      for (const op of asked) yield await measureCase(op, workload, options, context);
    } finally {
      await workload.close();
    }
  }
}

async function measureCase(op, workload, options, { skip }) {
  const { setting } = workload;
  console.error(`${op} (${setting})`);
  const onFailure = ({ impl }, error) => skip(`${op} (${setting}): ${impl}: ${error.message}`);
  const contenders = (await workload.contenders(op)).map((own) => ({ time: timer(own), ...own }));
  const rows = [];
  for (const measured of await measure(contenders, { ...options, pool: Infinity, onFailure })) {
    const { contender, batch, ...speed } = measured;
    const { impl, side, bound } = contender;
    const { bytes, error } = await contender.check();
    const size = workload.size({ bytes }, op);
    const wrong = side === 'softpack' && !(error <= bound) ? { bound } : {};
    rows.push({ op, setting, threads: 1, impl, side, batch, ...speed, size, error, ...wrong });
  }
  return rows;
}

function timer({ work }) {
  return async (_, calls) => {
    const cpu = process.cpuUsage();
    const begin = performance.now();
    for (let i = 0; i < calls; i++) {
      const done = work();
      if (typeof done?.then === 'function') await done;
    }
    const seconds = (performance.now() - begin) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    return { seconds, cpuSeconds: (user + system) / 1e6 };
  };
}
