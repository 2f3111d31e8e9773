import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { isJsonObject, type JsonValue } from '../core/json.js';
import { errorCode } from '../errors.js';

/** Names a process in files that other processes read, so that they can tell whether it still runs. */
export interface ProcessId {
  readonly pid: number;
  readonly host: string;
  /** Start of the process in clock ticks since boot: tells it from a later process with the same number. */
  readonly started: string;
}

export function thisProcess(): ProcessId {
  return { pid: process.pid, host: hostname(), started: startOf(process.pid) };
}

/** Undefined unless the value, from a file, has the form of one. */
export function asProcessId(value: JsonValue): ProcessId | undefined {
  const { pid, host, started } = isJsonObject(value) ? value : {};
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid)) return undefined;
  return typeof host === 'string' && typeof started === 'string'
    ? { pid, host, started }
    : undefined;
}

/** Whether it is certain that the process has ended; those of another host cannot be asked. */
export function isGone({ pid, host, started }: ProcessId): boolean {
  if (host !== hostname()) return false;
  if (pid <= 0) return true;
  try {
    process.kill(pid, 0);
  } catch (cause) {
    return errorCode(cause) === 'ESRCH';
  }
  const now = startOf(pid);
  return now !== '' && started !== '' && now !== started;
}

/** Field 22 of /proc/PID/stat; empty if there is no such file. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
