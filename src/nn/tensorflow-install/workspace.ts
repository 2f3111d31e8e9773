import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { throwIfAborted } from '../../errors.js';

const OWNER = 'owner';
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
      const owner = await readFile(join(work, OWNER), 'utf8').catch(() => '');
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
  else await rm(join(work, OWNER), { force: true });
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
  return `${process.pid} ${startTime(process.pid)}`;
}

function isAlive(owner: string): boolean {
  const [pid, start] = owner.split(' ');
  return owner !== '' && startTime(Number(pid)) === start;
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
