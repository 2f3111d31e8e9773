import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { SoftpackError, throwIfAborted } from '../../errors.js';

/** Marks a folder as made here: no other may be cleared. */
export const OWNER = 'owner';
const MARK = 'softpack-tensorflow-install';
const WAIT = 500;
/** Suffix, after the work folder's name, of the folders that {@link removeAbandoned} removes. */
const ABANDONED = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}(\.dead)?$/;

/** The folder next to `dir` where an installation is made; one process at a time has it. */
export function workFolder(dir: string): string {
  return `${dir}.partial`;
}

/**
 * Takes the work folder, waiting while a running process has it. The remains of a dead one are removed except `wheels`,
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
  await mkdir(fresh);
  try {
    // Before anything else is in the folder, so that the next run can tell whose it is.
    await writeFile(join(fresh, OWNER), ownName());
    await mkdir(join(fresh, 'tmp'));
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
        await removeMarked(`${fresh}.dead`);
      }
    }
    await removeAbandoned(work);
    return work;
  } catch (error) {
    await removeMarked(fresh);
    throw error;
  }
}

/** Removes a folder that has the mark; the mark last, so that the next run continues a killed removal. */
async function removeMarked(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (name !== OWNER) await rm(join(folder, name), { recursive: true, force: true });
  }
  await rm(join(folder, OWNER), { force: true });
  await rmdir(folder).catch(() => undefined);
}

/** Removes folders next to the work folder that were about to replace it, or to be removed, when their process was killed. */
async function removeAbandoned(work: string): Promise<boolean> {
  const prefix = `${basename(work)}.`;
  let removed = false;
  for (const name of await readdir(dirname(work)).catch(() => [])) {
    if (!name.startsWith(prefix) || !ABANDONED.test(name.slice(prefix.length))) continue;
    const folder = join(dirname(work), name);
    const owner = await ownerOf(folder);
    if (owner !== undefined && isAlive(owner)) continue;
    // Without a mark only a folder that is empty is ours.
    if (owner === undefined) removed = (await removedEmpty(folder)) || removed;
    else {
      await removeMarked(folder);
      removed = true;
    }
  }
  return removed;
}

function removedEmpty(folder: string): Promise<boolean> {
  return rmdir(folder).then(
    () => true,
    () => false,
  );
}

/** Gives the work folder back after a failure, keeping only whole wheels for the next run. */
export async function releaseWorkFolder(work: string): Promise<void> {
  const keep = 'wheels';
  const entries = await readdir(work).catch(() => []);
  for (const entry of entries.filter((name) => name !== keep && name !== OWNER)) {
    await rm(join(work, entry), { recursive: true, force: true });
  }
  const wheels = await readdir(join(work, keep)).catch(() => []);
  if (wheels.length === 0) await removeMarked(work);
  else await writeFile(join(work, OWNER), `${MARK} released`);
}

/** Removes the remains of an interrupted installation; false if there are none. */
export async function removeWorkFolder(dir: string): Promise<boolean> {
  const work = workFolder(dir);
  const abandoned = await removeAbandoned(work);
  const owner = await ownerOf(work);
  if (owner === undefined) return (await removedEmpty(work)) || abandoned;
  if (isAlive(owner)) {
    const message = 'an installation is running; wait for it or stop it';
    throw new SoftpackError('LOCKED', message, { field: work });
  }
  await removeMarked(work);
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

/** Process id and start time, as ids are reused. */
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
