// Writes an archive, going on with what is there, in a process of its own that its parent may kill.
//   node interrupted-writer.mjs DIRECTORY PAUSE_MS
import { setTimeout as pause } from 'node:timers/promises';
import { createArchive } from '#src/archive/create.js';

const [, , directory, pauseMs] = process.argv;
process.stdout.write('begun\n');
const writer = await createArchive(
  directory,
  {
    classes: 4,
    samples: 1001,
    epochs: 8,
    tau: 20,
    codec: { name: 'test', config: {}, tensors: new Map(), sampleTensors: new Map() },
    layout: { kind: 'fixed', bitsPerLabel: 11 },
    decoding: 'not at all',
    augmentation: null,
    columns: [{ name: 'side', dtype: 'U8', rowBytes: 500_000 }],
    shardBytes: 1_000_000,
  },
  { resume: true },
);
for (let epoch = writer.nextEpoch; epoch < 8; ++epoch) {
  await pause(Number(pauseMs));
  const codes = Uint8Array.from({ length: 1377 }, (_, i) => (i * 7 + epoch * 13) & 0xff);
  codes[1376] = epoch & 7;
  await writer.writeRow(epoch, { codes, side: new Uint8Array(500_000).fill(epoch + 1) });
}
await writer.finish();
