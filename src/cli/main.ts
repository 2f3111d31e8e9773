#!/usr/bin/env node
import { Interruption } from './io.js';
import { run } from './run.js';

/** Signals that stop a command as Ctrl-C does, with what it has done so far kept for a later run. */
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

const interrupt = new AbortController();

for (const [name, number] of Object.entries(SIGNALS)) {
  process.once(name, () => {
    // A second one finds no handler and ends the process.
    const again = name === 'SIGINT' ? ' (press Ctrl-C again to stop at once)' : '';
    process.stderr.write(`\nstopping${again}\n`);
    interrupt.abort(new Interruption(name, 128 + number));
  });
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Nobody reads the results any more, e.g. after `| head`.
  if (error.code === 'EPIPE') interrupt.abort(new Interruption('a closed pipe', 0));
  else throw error;
});
// Progress that nobody sees is no reason to stop.
process.stderr.on('error', () => undefined);

const { stdout, stderr } = process;
process.exitCode = await run(process.argv.slice(2), { stdout, stderr, signal: interrupt.signal });
