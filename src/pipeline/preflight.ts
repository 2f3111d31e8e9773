import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import type { PlannedLabels } from '../archive/size.js';
import { JOURNAL_FILE, UNFINISHED_FILE } from '../archive/unfinished.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import type { VqaeTrainingOptions } from '../codecs/vqae/options.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument, type Problem, requireNoProblems } from '../core/check.js';
import { isSoftpackError, SoftpackError } from '../errors.js';
import { schemeOf } from '../store/address.js';
import { onFile } from '../store/file-error.js';
import { readHead } from '../store/local.js';
import { choiceForTotal, isTotalSize, type TotalSizeChoice } from './archive-size.js';
import { defaultTrainingLabels } from './training-labels.js';

/** Everything that can be known to fail before the first label is read or made. */

/** A folder that output must neither be nor lie in. */
export interface Neighbour {
  readonly what: string;
  readonly path: string;
}

/** Collects the problems of several checks, to throw them as one error. */
export class Problems {
  readonly #found: Problem[] = [];

  add(problems: readonly Problem[]): void {
    this.#found.push(...problems);
  }

  /** The result of a check; `undefined` if it failed. Errors that are not the library's are thrown on. */
  async check<T>(work: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!isSoftpackError(error)) throw error;
      const { field = '', message, expected, found } = error;
      this.add([{ field, message, expected, found, error }]);
      return undefined;
    }
  }

  /** {@link check} of something that all later checks need: throws at once, with the problems found before. */
  async need<T>(work: () => T | Promise<T>): Promise<T> {
    const result = await this.check(async () => ({ value: await work() }));
    if (result === undefined) this.throwAll();
    return (result as { value: T }).value;
  }

  throwAll(): void {
    requireNoProblems(this.#found);
  }
}

/** Requires that a folder can be written at this path, outside of archives and of `neighbours`. */
export async function requireOutput(
  option: string,
  path: string,
  neighbours: readonly Neighbour[] = [],
): Promise<void> {
  if (schemeOf(path) !== undefined) {
    const message = 'work needs a folder; softpack copy puts what is finished there';
    const details = { field: option, expected: 'a path', found: `${schemeOf(path)}://` };
    throw new SoftpackError('UNSUPPORTED', message, details);
  }
  const full = resolve(path);
  const place = await onFile(path, () => nearestExisting(full));
  const found = await onFile(place, () => stat(place));
  if (!found.isDirectory()) {
    const message = 'not a folder: output needs its own folder';
    throw new SoftpackError('ALREADY_EXISTS', message, { field: option, found: place });
  }
  await onFile(place, () => access(place, constants.W_OK | constants.X_OK));
  const real = join(await realpath(place), relative(place, full));
  for (let above = dirname(real); above !== dirname(above); above = dirname(above)) {
    if (await isArchive(above)) throw inside(option, path, `the archive ${above}`);
  }
  for (const { what, path: other } of neighbours) {
    const root = await realpath(other).catch(() => resolve(other));
    if (real === root || isBelow(real, root)) throw inside(option, path, `${what} ${other}`);
  }
}

async function nearestExisting(path: string): Promise<string> {
  for (let place = path; ; place = dirname(place)) {
    const found = await stat(place).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && place !== dirname(place)) return undefined;
      // A part of the path is a file: that part is the nearest.
      if (error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    if (found !== undefined) return place;
  }
}

async function isArchive(folder: string): Promise<boolean> {
  const begins = async (name: string, pattern: RegExp) => {
    const head = await readHead(join(folder, name), 512).catch(() => new Uint8Array());
    return pattern.test(Buffer.from(head).toString('latin1'));
  };
  const manifest = await begins(MANIFEST_FILE, /"format":\s*"softpack/);
  const head = /^\{"augmentation":/;
  return manifest || (await begins(UNFINISHED_FILE, head)) || begins(JOURNAL_FILE, head);
}

function isBelow(path: string, root: string): boolean {
  return path !== root && path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`);
}

function inside(field: string, path: string, where: string): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', `output must not lie inside ${where}`, {
    field,
    expected: 'a separate folder',
    found: basename(path) === path ? resolve(path) : path,
  });
}

export interface CodecRequest {
  readonly codec: CodecChoice | TotalSizeChoice;
  readonly tau: number;
  readonly eps: number;
  readonly training?: VqaeTrainingOptions;
  readonly trainingLabels?: number;
  readonly codecs?: CodecRegistry;
}

/**
 * The codec's parameters, found if the size of the archive is given. Every objection to them is added to `problems`.
 *
 * @param full bytes of the uncompressed labels that a ratio refers to.
 */
export async function checkedChoice(
  { codec, tau, eps, training, trainingLabels, codecs = CODECS }: CodecRequest,
  labels: PlannedLabels,
  full: number,
  problems: Problems,
): Promise<CodecChoice> {
  if (trainingLabels !== undefined) {
    await problems.check(() => argument.count(trainingLabels, 'trainingLabels', 1));
  }
  const choice = await problems.need(() =>
    isTotalSize(codec) ? choiceForTotal(codec, labels, full, codecs) : codec,
  );
  const { classes, samples, epochs } = labels;
  const context = {
    ...{ classes, samples, labels: samples * epochs, tau, eps, training },
    trainingLabels: trainingLabels ?? defaultTrainingLabels(classes),
  };
  problems.add(codecs.problemsOf(choice, context));
  return choice;
}
