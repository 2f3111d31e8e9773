// Threads of all contenders on the same processors: one for one thread, all for all.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';

/** Processors that this process was started on, as `taskset` lists them. */
const ALLOWED = allowed();

/** Pins this process, its threads and all it starts later; returns { pinned: processors } or { reason }. */
export function pin(threads) {
  // The last one, as interrupts prefer the first.
  const list = threads === 1 ? ALLOWED.match(/\d+$/)[0] : ALLOWED;
  try {
    execFileSync('taskset', ['-a', '-c', '-p', list, `${process.pid}`], { stdio: 'ignore' });
    const several = /[-,]/.test(list);
    return { pinned: `processor${several ? 's' : ''} ${list}` };
  } catch {
    return { reason: 'pinning to processors: no taskset' };
  }
}

function allowed() {
  try {
    return readFileSync('/proc/self/status', 'utf8').match(/^Cpus_allowed_list:\s*(\S+)$/m)[1];
  } catch {
    return `0-${os.cpus().length - 1}`;
  }
}
