import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../../container/durable.js';
import { parseJson } from '../../core/json.js';
import { onFile } from '../../store/file-error.js';
import { readLocalFile } from '../../store/local.js';
import { asProcessId, isGone, thisProcess } from '../../store/process-id.js';

const PREFIX = 'softpack-job-';
/** Says whose folder it is. */
const OWNER_FILE = 'owner.json';
const MAX_OWNER_BYTES = 4096;

/** A folder of this process for unfinished shards, in the scratch folder; those that killed processes left there are removed. */
export async function makeScratch(scratch: string): Promise<string> {
  await makeDirectory(scratch);
  for (const name of await onFile(scratch, () => readdir(scratch))) {
    const folder = join(scratch, name);
    if (!name.startsWith(PREFIX) || !(await isLeft(folder))) continue;
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
  const own = await onFile(scratch, () => mkdtemp(join(scratch, PREFIX)));
  const path = join(own, OWNER_FILE);
  try {
    await onFile(path, () => writeFile(path, JSON.stringify(thisProcess())));
  } catch (error) {
    // Without its owner nobody would ever remove it.
    await rm(own, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
  return own;
}

/** Whether its process ran on this machine and has ended. */
async function isLeft(folder: string): Promise<boolean> {
  const path = join(folder, OWNER_FILE);
  try {
    const owner = asProcessId(parseJson(path, 'owner', await readLocalFile(path, MAX_OWNER_BYTES)));
    return owner !== undefined && isGone(owner);
  } catch {
    // Of a process that begins just now, of another user, or no file at all: not for us to remove, nor a reason to stop.
    return false;
  }
}
