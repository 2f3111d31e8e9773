// Throughput of an archive's rows: node bench/archive.mjs [DIRECTORY] [MIB_A_ROW] [EPOCHS]
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';

const [parent = tmpdir(), mebibytes = '64', epochs = '16'] = process.argv.slice(2);
const directory = await mkdtemp(join(parent, 'softpack-bench-'));
const codes = new Uint8Array(Number(mebibytes) * 2 ** 20);
for (let i = 0; i < codes.length; ++i) codes[i] = Math.imul(i, 2654435761) >>> 24;

const spec = {
  classes: 1000,
  samples: codes.length / 64,
  epochs: Number(epochs),
  tau: 20,
  codec: { name: 'bench', config: {}, tensors: new Map(), sampleTensors: new Map() },
  layout: { kind: 'fixed', bitsPerLabel: 512 },
  decoding: 'none',
  augmentation: null,
};

async function measure(what, work) {
  const begin = performance.now();
  const cpuBegin = process.cpuUsage();
  await work();
  const seconds = (performance.now() - begin) / 1000;
  const cpu = process.cpuUsage(cpuBegin);
  const megabytes = (codes.length * spec.epochs) / 1e6;
  const perCpuSecond = megabytes / ((cpu.user + cpu.system) / 1e6);
  console.log(
    `${what}: ${(megabytes / seconds).toFixed(0)} MB/s, ${perCpuSecond.toFixed(0)} MB per CPU second`,
  );
}

try {
  await measure('write, synced, with hashes', async () => {
    const writer = await createArchive(directory, spec);
    for (let epoch = 0; epoch < spec.epochs; ++epoch) await writer.writeRow(epoch, { codes });
    await writer.finish();
  });
  for (const verify of ['block', 'none']) {
    const archive = await openArchive(directory, { verify });
    await measure(`read rows, verify ${verify}`, async () => {
      for (let epoch = 0; epoch < spec.epochs; ++epoch) await archive.readRow(epoch);
    });
  }
  const archive = await openArchive(directory);
  await measure('verify()', () => archive.verify());
} finally {
  await rm(directory, { recursive: true });
}
