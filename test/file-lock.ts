import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';

const TIMEOUT = 600_000;

/**
 * Runs `work` while no other process holds `<target>.lock`. The lock names the process that holds it: a lock left by a
 * killed process is taken over at once.
 */
export function whileLocked(target: string, work: () => void): void {
  const lock = `${target}.lock`;
  mkdirSync(path.dirname(lock), { recursive: true });
  const until = Date.now() + TIMEOUT;
  while (!takeLock(lock)) {
    if (Date.now() > until) throw new Error(`${lock} is still held by ${readIfThere(lock)}`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  try {
    work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function takeLock(lock: string): boolean {
  // Linked into place, so that no process ever reads a lock without its holder's name.
  const own = `${lock}.${process.pid}`;
  writeFileSync(own, holder(process.pid));
  try {
    linkSync(own, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(own, { force: true });
  }
  const found = readIfThere(lock);
  const [host, pid] = found.split(' ');
  if (host === hostname() && holder(Number(pid)) !== found) removeStale(lock, found);
  return false;
}

/** Host, process id, boot and start time: process ids are used again, all four together are not. */
function holder(pid: number): string {
  const stat = readIfThere(`/proc/${pid}/stat`);
  const boot = readIfThere('/proc/sys/kernel/random/boot_id').trim();
  // The name in brackets may contain spaces; the start time is the 20th field after it.
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  const alive = stat !== '' || (boot === '' && isAlive(pid));
  return `${hostname()} ${alive ? pid : 'none'} ${boot} ${started}`;
}

/** Without /proc: whether there is any process of this id. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Between reading and renaming, another process may have put a fresh lock in place: that one goes back. */
function removeStale(lock: string, stale: string): void {
  const aside = `${lock}.stale-${process.pid}`;
  try {
    renameSync(lock, aside);
  } catch {
    return;
  }
  if (readIfThere(aside) !== stale) renameSync(aside, lock);
  else rmSync(aside);
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
