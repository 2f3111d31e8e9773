// Writes an archive, going on with what is there, in a process that its parent may kill.
//   node interrupted-writer.mjs DIRECTORY KILL_AT [PAUSE_MS]
// With KILL_AT = n > 0 it kills itself (SIGKILL) in its n-th call of the file system that changes anything;
// a write is cut in half then. When it gets to the end it prints how many calls there were.
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';

const [directory, killAt, pauseMs] = [process.argv[2], ...process.argv.slice(3).map(Number)];
let calls = 0;

/** Replaces a method by one that dies in the call whose turn it is, after `half` of its work. */
function interrupt(owner, name, half) {
  const original = owner[name];
  owner[name] = async function (...args) {
    calls += 1;
    if (calls === killAt) {
      await half?.call(this, original, ...args);
      process.kill(process.pid, 'SIGKILL');
      // The signal is not delivered at once.
      await pause(60_000);
    }
    return original.apply(this, args);
  };
}

const probe = await fs.open(import.meta.filename, 'r');
const handles = Object.getPrototypeOf(probe);
await probe.close();
interrupt(handles, 'write', function (write, bytes, offset, length, position) {
  return write.call(this, bytes, offset, length >> 1, position);
});
interrupt(handles, 'appendFile', function (append, text) {
  return append.call(this, text.slice(0, text.length >> 1));
});
for (const name of ['truncate', 'sync', 'datasync']) interrupt(handles, name);
for (const name of ['open', 'mkdir', 'link', 'rename', 'rm']) interrupt(fs, name);
syncBuiltinESMExports();

const { createArchive } = await import('#src/archive/writer.js');
const data = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
const tensors = new Map([['codebook', { dtype: 'F32', shape: [2, 2], data }]]);
const writer = await createArchive(
  directory,
  {
    classes: 4,
    samples: 1001,
    epochs: 4,
    tau: 20,
    codec: { name: 'test', config: {}, tensors, sampleTensors: tensors },
    layout: { kind: 'fixed', bitsPerLabel: 11 },
    decoding: 'not at all',
    augmentation: null,
    columns: [{ name: 'side', dtype: 'U8', rowBytes: 5 }],
    shardBytes: 3000,
  },
  { resume: true },
);
for (let epoch = writer.nextEpoch; epoch < 4; ++epoch) {
  if (pauseMs > 0) await pause(pauseMs);
  const codes = Uint8Array.from({ length: 1377 }, (_, i) => (i * 7 + epoch * 13) & 0xff);
  codes[1376] = epoch & 7;
  await writer.writeRow(epoch, { codes, side: Uint8Array.of(1, 2, 3, 4, epoch) });
}
await writer.finish();
process.stdout.write(String(calls));
