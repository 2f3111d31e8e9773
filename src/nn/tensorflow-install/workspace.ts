import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { SoftpackError, throwIfAborted } from '../../errors.js';

/** Marks a folder as made here: nothing else may be cleared. */
export const OWNER = 'owner';
const MARK = 'softpack-tensorflow-install';
const WAIT = 500;

/** The folder beside `dir` where an installation is made; one process at a time has it. */
export function workFolder(dir: string): string {
  return `${dir}.partial`;
}

/**
 * Takes the work folder, waiting while a living process has it. What a dead one left is cleared, but for `wheels`,
 * which pip checks and keeps.
 */
export async function takeWorkFolder(
  dir: string,
  onWait: () => void,
  signal?: AbortSignal,
): Promise<string> {
  const work = workFolder(dir);
  await mkdir(dirname(dir), { recursive: true });
  const fresh = `${work}.${randomUUID()}`;
  await mkdir(join(fresh, 'tmp'), { recursive: true });
  await writeFile(join(fresh, OWNER), ownName());
  try {
    // Renaming onto a folder that is not empty fails: only one process gets through.
    while (!(await renamed(fresh, work))) {
      throwIfAborted(signal);
      const owner = await ownerOf(work);
      // Renamed or removed meanwhile: try again.
      if (owner === undefined && !existsSync(work)) continue;
      if (owner === undefined) throw notOurs(work);
      if (isAlive(owner)) {
        onWait();
        await setTimeout(WAIT, undefined, { signal }).catch(() => throwIfAborted(signal));
      } else if (await renamed(work, `${fresh}.dead`)) {
        await renamed(join(`${fresh}.dead`, 'wheels'), join(fresh, 'wheels'));
        await rm(`${fresh}.dead`, { recursive: true });
      }
    }
    return work;
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
}

/** Gives the work folder back after a failure, keeping only whole wheels for the next run. */
export async function releaseWorkFolder(work: string): Promise<void> {
  const keep = 'wheels';
  const entries = await readdir(work).catch(() => []);
  for (const entry of entries.filter((name) => name !== keep && name !== OWNER)) {
    await rm(join(work, entry), { recursive: true, force: true });
  }
  const wheels = await readdir(join(work, keep)).catch(() => []);
  if (wheels.length === 0) await rm(work, { recursive: true, force: true });
  else await writeFile(join(work, OWNER), `${MARK} released`);
}

/** Removes what an interrupted installation left; false if there is nothing. */
export async function removeWorkFolder(dir: string): Promise<boolean> {
  const work = workFolder(dir);
  const owner = await ownerOf(work);
  if (owner === undefined) return false;
  if (isAlive(owner)) {
    const message = 'an installation is running; wait for it or stop it';
    throw new SoftpackError('LOCKED', message, { field: work });
  }
  await rm(work, { recursive: true });
  return true;
}

/** Process id and start time of the folder's owner; undefined if no installation made the folder. */
export async function ownerOf(work: string): Promise<string | undefined> {
  const text = await readFile(join(work, OWNER), 'utf8').catch(() => '');
  return text.startsWith(`${MARK} `) ? text.slice(MARK.length + 1) : undefined;
}

function notOurs(work: string): SoftpackError {
  const message = 'the folder is needed for the installation but was not made by it; move it away';
  return new SoftpackError('ALREADY_EXISTS', message, { field: work });
}

/** Whether the renaming went through; a target that is not empty stops it. */
function renamed(from: string, to: string): Promise<boolean> {
  return rename(from, to).then(
    () => true,
    () => false,
  );
}

/** Process id and start time: ids are used again. */
function ownName(): string {
  return `${MARK} ${process.pid} ${startTime(process.pid)}`;
}

function isAlive(owner: string): boolean {
  const [pid, start] = owner.split(' ');
  return start !== undefined && start !== '' && startTime(Number(pid)) === start;
}

/** Clock ticks after boot at which a process started, proc(5); empty if there is none. */
function startTime(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ');
    return fields?.[19] ?? '';
  } catch {
    return '';
  }
}
