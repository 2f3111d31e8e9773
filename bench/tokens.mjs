// Training windows of tokens' labels, end to end: files, checksums, texts, labels, masks.
//   node bench/tokens.mjs [ROUNDS]
// Of a seeded stand-in for a teacher; processor time of all threads, so that rates are per core; median of the rounds,
// slowest to fastest. Their kernels are measured by `npm run bench -- --only tokens-decode`.
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { TOKEN_PRESETS } from '#src/tokens/config.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { tokenWindows } from '#src/tokens/windows.js';
import { quantile } from './kernels/statistics.mjs';
import { LENGTH, SEQUENCES, tokenSource } from './kernels/streams/token-source.mjs';

const rounds = Number(process.argv[2] ?? 7);
const REPEATS = 20;
const LABELS = SEQUENCES * LENGTH;

/** Millions of tokens per second of processor time, one of each round. */
async function measureWindows(out) {
  const archive = await openTokenArchive(out);
  const rates = [];
  for (let round = 0; round < rounds; round++) {
    const begin = process.cpuUsage();
    for (let i = 0; i < REPEATS; i++) {
      let positions = 0;
      for await (const { tokens } of tokenWindows(archive, { length: 512 }))
        positions += tokens.length;
      if (positions < LABELS) throw Error('windows miss tokens');
    }
    const { user, system } = process.cpuUsage(begin);
    rates.push((REPEATS * LABELS) / (user + system));
  }
  await archive.close();
  return rates;
}

const cpu = os.cpus()[0]?.model.trim() ?? 'unknown';
console.log(`${cpu}, Node.js ${process.version}, ${LABELS} labels, ${rounds} rounds\n`);
console.log('| training windows of 512, end to end | millions of tokens per second |\n|---|---|');
const folder = await mkdtemp(join(os.tmpdir(), 'softpack-tokens-'));
for (const name of Object.keys(TOKEN_PRESETS).filter((preset) => preset !== 'sampled')) {
  const out = join(folder, name);
  await packTokens({ source: tokenSource(49_152), out, codec: { name } });
  const rates = await measureWindows(out);
  const [middle, low, high] = [0.5, 0, 1].map((share) => quantile(rates, share).toPrecision(3));
  console.log(`| ${name} | ${middle} (${low} to ${high}) |`);
}
await rm(folder, { recursive: true });
