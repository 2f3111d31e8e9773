// As a process or a thread: reads a file of a server through a cache and prints or posts the sha256 of its bytes.
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { openStore } from '#src/store/open-store.js';

const [, , address, key, folder] = process.argv;
const cache = { folder, bytes: 2 ** 28 };
const store = await openStore(address, { cache, http: { backoffMs: 1 } });
const file = await store.open(key);
const hash = createHash('sha256');
const into = new Uint8Array(300_000);
for (let at = 0; at < file.size; at += into.length) {
  const piece = into.subarray(0, Math.min(into.length, file.size - at));
  await file.read(at, piece, { until: file.size });
  hash.update(piece);
}
const digest = hash.digest('hex');
if (parentPort === null) console.log(digest);
else parentPort.postMessage(digest);
