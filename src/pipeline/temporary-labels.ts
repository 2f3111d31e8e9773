import { existsSync } from 'node:fs';
import { constants, mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { parseManifest, shardFiles } from '../archive/manifest.js';
import { NO_FOLLOW } from '../container/durable.js';
import { LOCK_FILE } from '../container/lock.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import { SoftpackError } from '../errors.js';
import { fileError, onFile } from '../store/file-error.js';
import { readLocalFileIfAny } from '../store/local.js';

const MARKER_FILE = 'softpack-temporary.json';
const LABELS = 'labels';
const MAX_MARKER_BYTES = 4096;

/**
 * Folder for the uncompressed labels of an archive that is being made, next to it: `<archive>.softpack-tmp`. A marker in
 * it names the archive; a folder without this marker belongs to somebody else and is neither used nor removed.
 */
export class TemporaryLabels {
  readonly #folder: string;
  readonly #marker: string;

  constructor(archive: string) {
    this.#folder = `${resolve(archive)}.softpack-tmp`;
    const marker = { format: 'softpack temporary labels', version: 1, archive: basename(archive) };
    this.#marker = `${JSON.stringify(marker)}\n`;
  }

  /** Directory of the archive of uncompressed labels. */
  get directory(): string {
    return join(this.#folder, LABELS);
  }

  /** Creates the folder or reuses that of an interrupted run; `ALREADY_EXISTS` if it is any other. */
  async create(): Promise<void> {
    await this.requireOwn();
    await onFile(this.#folder, () => mkdir(this.#folder, { recursive: true }));
    const path = join(this.#folder, MARKER_FILE);
    const { O_WRONLY, O_CREAT, O_TRUNC } = constants;
    const flag = O_WRONLY | O_CREAT | O_TRUNC | NO_FOLLOW;
    await onFile(path, () => writeFile(path, this.#marker, { flag }));
  }

  isThere(): boolean {
    return existsSync(this.#folder);
  }

  /** `ALREADY_EXISTS` if the folder exists and is not ours. */
  async requireOwn(): Promise<void> {
    const names = await this.#names();
    if (names === undefined || (await this.#isOwn(names))) return;
    throw new SoftpackError('ALREADY_EXISTS', 'the folder for temporary labels is in use', {
      field: this.#folder,
      expected: 'no such folder, or one of an interrupted run (or use --full)',
      found: names.slice(0, 5).join(', '),
    });
  }

  /** Removes the finished archive, its marker and the folder; other files and their folder stay. */
  async remove(): Promise<void> {
    const names = await this.#names();
    if (names === undefined || !(await this.#isOwn(names))) return;
    for (const file of await archiveFiles(this.directory)) {
      await removeFile(join(this.directory, file));
    }
    await removeEmpty(this.directory);
    // The marker last: a killed removal is continued by the next run.
    const rest = (await this.#names()) ?? [];
    if (rest.some((name) => name !== MARKER_FILE)) return;
    await removeFile(join(this.#folder, MARKER_FILE));
    await removeEmpty(this.#folder);
  }

  async #names(): Promise<readonly string[] | undefined> {
    return await readdir(this.#folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      if (error.code === 'ENOTDIR') return ['a file'];
      throw fileError(this.#folder, error);
    });
  }

  /** A run killed in its first moment leaves an empty folder, or one with the beginning of a marker. */
  async #isOwn(names: readonly string[]): Promise<boolean> {
    if (names.length === 0) return true;
    const bytes = await readLocalFileIfAny(join(this.#folder, MARKER_FILE), MAX_MARKER_BYTES);
    if (bytes === undefined) return false;
    const text = Buffer.from(bytes).toString('utf8');
    return text === this.#marker || (names.length === 1 && this.#marker.startsWith(text));
  }
}

/**
 * Files of a finished archive, and a lock that its writer could not remove; its manifest is the last, so that a killed
 * removal can be continued.
 */
async function archiveFiles(directory: string): Promise<readonly string[]> {
  const path = join(directory, MANIFEST_FILE);
  const bytes = await readLocalFileIfAny(path, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return [];
  const manifest = parseManifest(path, bytes);
  const { codecFile, samplesFile, shardTable } = manifest;
  const others = [codecFile, samplesFile, shardTable].flatMap((record) => record?.file ?? []);
  return [...others, ...shardFiles(manifest), LOCK_FILE, MANIFEST_FILE];
}

function removeFile(path: string): Promise<void> {
  return onFile(path, () => rm(path, { force: true }));
}

async function removeEmpty(directory: string): Promise<void> {
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw fileError(directory, error);
  });
}
