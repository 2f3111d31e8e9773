// Peak memory of storing and reading labels of one text, whatever its length, each in a process of its own:
//   node bench/tokens-memory.mjs [VOCABULARY]
// Logits are made as they are asked for, so that they are not in memory before. Resident memory, Node.js included.
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { tokenWindows } from '#src/tokens/windows.js';

const LENGTHS = [256, 1024, 8192];
const [, script, vocabularyText = '151936', rowsText] = process.argv;
const vocabulary = Number(vocabularyText);

function sourceOf(rows) {
  const noise = Float32Array.from({ length: 65_521 }, (_, i) => 9 * Math.sin(i * i));
  const read = async (start, count) => {
    const out = new Float32Array(count * vocabulary);
    for (let i = 0; i < count; i++) {
      const shift = Math.imul(start + i, 7919) % noise.length;
      for (let at = 0; at < vocabulary; at += noise.length - shift) {
        out.set(noise.subarray(shift, shift + vocabulary - at), i * vocabulary + at);
      }
    }
    return out;
  };
  const tokens = Int32Array.from({ length: rows }, (_, i) => (i * 7919) % vocabulary);
  const labels = { kind: 'logits', width: vocabulary, read };
  return {
    vocabulary,
    async *sequences() {
      yield { name: 'text', tokens, first: 0, rows, labels };
    },
  };
}

async function measure(rows) {
  const folder = await mkdtemp(join(os.tmpdir(), 'softpack-tokens-'));
  const out = join(folder, 'archive');
  const begin = process.cpuUsage();
  await packTokens({ source: sourceOf(rows), out });
  const { user, system } = process.cpuUsage(begin);
  const archive = await openTokenArchive(out);
  let positions = 0;
  for await (const { targets } of tokenWindows(archive, { length: 512 })) {
    positions += targets.positions;
  }
  if (positions < rows) throw Error('windows miss tokens');
  await archive.close();
  await rm(folder, { recursive: true });
  const memory = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(`| ${rows} | ${memory} | ${((user + system) / 1000 / rows).toFixed(2)} |`);
}

if (rowsText !== undefined) {
  await measure(Number(rowsText));
} else {
  console.log(
    `${os.cpus()[0]?.model.trim()}, Node.js ${process.version}, vocabulary ${vocabulary}\n`,
  );
  console.log('| labels of the text | peak MB | ms of processor time per label |\n|---|---|---|');
  for (const rows of LENGTHS) {
    const args = [script, vocabularyText, String(rows)];
    process.stdout.write(execFileSync(process.execPath, args, { encoding: 'utf8' }));
  }
}
