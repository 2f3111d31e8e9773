// Uses a loader in one way after the other and prints what each leaves: threads, handles, open files.
// Run as a process of its own: what the test runner holds open is not counted, and it must end by itself.
import { readdirSync } from 'node:fs';
import { openArchive } from '../../dist/archive/archive.js';
import { openImages } from '../../dist/images/open.js';
import { createLoader } from '../../dist/loader/loader.js';

const [archivePath, imagesPath] = process.argv.slice(2);
// Threads write to these; with the first of them the process opens a file that it keeps in reserve.
if (!process.stdout.writable || !process.stderr.writable) process.exit(8);
let threads = 0;
let started = 0;
process.on('worker', (worker) => {
  threads++;
  started++;
  worker.on('exit', () => {
    threads--;
  });
});

function openFiles() {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0;
}

const ways = {
  async finish(loader) {
    for await (const _ of loader);
  },
  async break(loader) {
    for await (const _ of loader) break;
  },
  async throw(loader) {
    const read = async () => {
      for await (const _ of loader) throw new Error('consumer');
    };
    await read().catch(({ message }) => message === 'consumer' || process.exit(9));
  },
  async abort(loader, controller) {
    const read = async () => {
      for await (const { index } of loader) if (index === 2) controller.abort();
    };
    await read().catch(({ code }) => code === 'ABORTED' || process.exit(9));
  },
  async abandon(loader) {
    await loader[Symbol.asyncIterator]().next();
  },
  async stream(loader) {
    const stream = loader.toReadable();
    for await (const _ of stream) break;
  },
  async unused() {},
  // Not closed: the process must end all the same.
  async forget(loader) {
    for await (const _ of loader) break;
  },
};

async function use(how) {
  const files = openFiles();
  started = 0;
  const archive = await openArchive(archivePath);
  const images = await openImages(imagesPath);
  const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.3, 0.3, 0.3] };
  const controller = new AbortController();
  const { signal } = controller;
  const options = { archive, images, normalisation, batchSize: 4, workers: 2, prefetch: 6, signal };
  const loader = createLoader(options);
  await ways[how](loader, controller);
  if (how !== 'forget') await loader.close();
  await archive.close();
  // Threads report their end, and streams close, within a turn or two.
  await new Promise((resolve) => setTimeout(resolve, 20));
  const handles = process.getActiveResourcesInfo().filter((name) => !/^(TTY|Pipe)/.test(name));
  return { started, left: { threads, handles, files: openFiles() - files } };
}

const found = {};
for (const how of Object.keys(ways)) found[how] = await use(how);
console.log(JSON.stringify(found));
