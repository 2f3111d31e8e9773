import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../container/durable.js';
import { isJsonObject, type JsonObject, parseJson } from '../core/json.js';
import { invalidFile, SoftpackError } from '../errors.js';
import { readLocalFileIfAny } from '../store/local.js';
import type { Provenance } from './provenance.js';

/** Marks a directory as an unfinished archive, and says of which one; removed once the manifest is written. */
export const UNFINISHED_FILE = 'unfinished.json';
/** The same of version 1, which also had a line per row. */
export const JOURNAL_FILE = 'journal.jsonl';
export const MAX_UNFINISHED_BYTES = 64 * 2 ** 20;

/** What is to be written, and how it was begun. */
export interface Unfinished {
  readonly head: JsonObject;
  readonly provenance: Provenance | undefined;
}

export function writeUnfinished(
  directory: string,
  { head, provenance }: Unfinished,
): Promise<void> {
  const mark = { ...head, ...(provenance && { provenance }) };
  return replaceFile(join(directory, UNFINISHED_FILE), Buffer.from(`${JSON.stringify(mark)}\n`));
}

/** `undefined` if there is no unfinished archive; `UNSUPPORTED` if version 0.1 of softpack began it. */
export async function readUnfinished(directory: string): Promise<Unfinished | undefined> {
  const path = join(directory, UNFINISHED_FILE);
  const bytes = await readLocalFileIfAny(path, MAX_UNFINISHED_BYTES);
  if (bytes === undefined) {
    refuseJournal(directory);
    return undefined;
  }
  const head = parseJson(path, 'content', bytes);
  if (!isJsonObject(head)) throw invalidFile(path, 'content', 'not an object', { found: head });
  const { provenance, ...rest } = head;
  return { head: rest, provenance: isJsonObject(provenance) ? provenance : undefined };
}

function refuseJournal(directory: string): void {
  const path = join(directory, JOURNAL_FILE);
  if (!existsSync(path)) return;
  const message = 'the archive was begun by softpack 0.1: finish it with that, or remove it';
  throw new SoftpackError('UNSUPPORTED', message, { field: path });
}
