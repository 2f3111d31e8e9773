import { constants, existsSync } from 'node:fs';
import { copyFile, link, mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { damagedFile } from './contents.js';
import {
  type InstalledTensorflow,
  installedTensorflow,
  OPERATIONS,
  type TensorflowVariant,
} from './location.js';
import { operationsDigest } from './operations.js';
import { BINDING_VERSION, TENSORFLOW_VERSION } from './plan.js';

/** A header that operations need; earlier releases kept none. */
const HEADER = 'tensorflow/include/tensorflow/c/kernels.h';

export interface Wanted {
  readonly variant: TensorflowVariant;
  /** A given wheel may be any known release. */
  readonly wheel?: string;
}

/** The installation in `dir` if it is the one wanted and its files are what was installed, its operations aside. */
export async function sameTensorflow(
  dir: string,
  { variant, wheel }: Wanted,
): Promise<InstalledTensorflow | undefined> {
  const installed = installedTensorflow(dir);
  const version = wheel !== undefined || installed?.tensorflow === TENSORFLOW_VERSION;
  const same = installed?.variant === variant && installed.binding === BINDING_VERSION && version;
  if (installed === undefined || !same) return undefined;
  return (await damagedFile(dir, installed)) === undefined ? installed : undefined;
}

/** Whether its operations are those of this release. */
export async function hasOperations({ operations }: InstalledTensorflow): Promise<boolean> {
  return operations === (await operationsDigest());
}

/** Whether only operations are missing, and can be built from what an installation has. */
export function canBuildOn(
  dir: string,
  installed: InstalledTensorflow | undefined,
): installed is InstalledTensorflow {
  return installed !== undefined && existsSync(join(dir, HEADER));
}

/**
 * Puts all files but the operations into another folder too, without copying them where the file system can; returns the
 * version of TensorFlow.
 */
export async function linkInstallation(
  dir: string,
  { tensorflow, files, links }: InstalledTensorflow,
  into: string,
): Promise<string> {
  const made = new Set<string>();
  const target = async (path: string) => {
    const folder = dirname(join(into, path));
    if (!made.has(folder)) await mkdir(folder, { recursive: true });
    made.add(folder);
    return join(into, path);
  };
  for (const path of Object.keys(files)) {
    if (path === OPERATIONS) continue;
    const [from, to] = [join(dir, path), await target(path)];
    await link(from, to).catch(() => copyFile(from, to, constants.COPYFILE_FICLONE));
  }
  for (const [path, to] of Object.entries(links)) await symlink(to, await target(path));
  return tensorflow;
}
