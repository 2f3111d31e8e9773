import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SynthesisJobOptions } from '#src/synthesis/synthesis-jobs.js';
import type { TemporaryDirectory } from '../temporary.js';
import { description, teacher, writeClasses } from './classes.js';

/** Images distilled from those of five classes, two a class, and how runs that make them compare. */

export async function distilling(temporary: TemporaryDirectory): Promise<SynthesisJobOptions> {
  const images = await writeClasses(temporary);
  return { method: 'rded', teacher, description, images, ipc: 2, batch: 20 };
}

/** Bytes of files, base64, by path. */
export type Tree = ReadonlyMap<string, string>;

/** Every file below a folder with its bytes, but what a run on one machine keeps of its request. */
export async function treeOf(root: string): Promise<Tree> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name !== 'request.json');
  const paths = files.map(({ parentPath, name }) => join(parentPath, name)).sort();
  const bytes = await Promise.all(paths.map((path) => readFile(path, 'base64')));
  return new Map(paths.map((path, i) => [path.slice(root.length + 1), bytes[i]]));
}

/** What the system's tar makes of a job's files, in a folder that it makes. */
export async function unpacked(
  folder: string,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<Tree> {
  await mkdir(folder);
  for (const [file, bytes] of files) {
    if (file.endsWith('.tar')) execFileSync('tar', ['-xf', '-'], { cwd: folder, input: bytes });
    else await writeFile(join(folder, file), bytes);
  }
  return treeOf(folder);
}
