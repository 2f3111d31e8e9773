// Runs commands of softpack, one after the other, under faults of test/faults/file_faults.c: a process that starts for each
// of a thousand faults takes longer than the commands.
import { symlinkSync } from 'node:fs';
import { run } from '../../dist/cli/run.js';

const control = process.env.SOFTPACK_FAULT_CONTROL;

process.on('disconnect', () => process.exit());
process.on('message', async ({ args, words, log }) => {
  let err = '';
  const stderr = {
    write(text) {
      err += text;
    },
  };
  const { signal } = new AbortController();
  // The faults last until the next command: one that was frozen must not change anything once it has ended.
  symlinkSync(`${words} ${log}`, control);
  const code = await run(args, { stdout: { write: () => true }, stderr, signal });
  process.send({ code, err });
});
