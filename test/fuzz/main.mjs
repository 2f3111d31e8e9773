// npm run fuzz -- --minutes 5 [--seed 1] [--only manifest] [--keep folder]
import { mkdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    only: { type: 'string' },
    keep: { type: 'string' },
  },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
if (values.keep !== undefined) mkdirSync(values.keep, { recursive: true });

let next = 0;
const result = await fuzz({
  ...{ seconds: 60 * Number(values.minutes), seed, only: values.only, keep: values.keep },
  onProgress({ executions, seconds, failures }) {
    if (seconds < next) return;
    next = seconds + 10;
    const perSecond = Math.round(executions / Math.max(seconds, 1));
    console.error(
      `${Math.round(seconds)} s: ${executions} inputs, ${perSecond}/s, ${failures.length} failures`,
    );
  },
});
for (const { target, reason, bytes } of result.failures) {
  console.log(`\n${target} (${bytes.length} bytes): ${reason}`);
}
const perSecond = Math.round(result.executions / result.seconds);
console.log(
  `seed ${seed}: ${result.executions} inputs of ${result.targets.length} targets, ${perSecond}/s, ` +
    `${result.failures.length} failures`,
);
process.exitCode = result.failures.length === 0 ? 0 : 1;
