import { constants, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { NO_FOLLOW, replaceFile } from '../container/durable.js';
import { isJsonObject, type JsonObject, parseJson } from '../core/json.js';
import { invalidFile } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { readLocalFileIfAny } from '../store/local.js';

/** Marks a directory as an unfinished archive; removed once the manifest is written. */
export const JOURNAL_FILE = 'journal.jsonl';
/** A head, then less than 50 bytes per row. */
const MAX_JOURNAL_BYTES = 256 * 2 ** 20;
const MAX_ROW_LINE = 64;
const NEWLINE = 0x0a;

export interface JournalContent {
  /** What is being written: identity and shards. */
  readonly head: JsonObject;
  /** xxh64 of each epoch's row, all columns together; if an epoch occurs twice, the last one counts. */
  readonly rows: ReadonlyMap<number, string>;
}

/**
 * Lines of JSON: the head, then one line per row, written after the row's bytes. A row counts only if the bytes
 * match its line, so neither order nor durability of the two writes matters for correctness.
 */
export class Journal {
  readonly #path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** Starts a new journal with these rows, which are known to be good. */
  static async create(directory: string, content: JournalContent): Promise<Journal> {
    const path = join(directory, JOURNAL_FILE);
    const lines = [...content.rows].map(([epoch, hash]) => rowLine(epoch, hash));
    const text = `${JSON.stringify(content.head)}\n${lines.join('')}`;
    await replaceFile(path, Buffer.from(text));
    const flags = constants.O_WRONLY | constants.O_APPEND | NO_FOLLOW;
    return new Journal(path, await onFile(path, () => open(path, flags)));
  }

  /** `undefined` if there is no journal. Whatever follows the first damaged line is ignored. */
  static async read(directory: string): Promise<JournalContent | undefined> {
    const path = join(directory, JOURNAL_FILE);
    const bytes = await readLocalFileIfAny(path, MAX_JOURNAL_BYTES);
    if (bytes === undefined) return undefined;
    const end = bytes.indexOf(NEWLINE);
    const head = parseJson(path, 'line 1', bytes.subarray(0, Math.max(0, end)));
    if (!isJsonObject(head)) throw invalidFile(path, 'line 1', 'not an object', { found: head });
    return { head, rows: readRows(bytes.subarray(end + 1)) };
  }

  async addRow(epoch: number, hash: string): Promise<void> {
    await onFile(this.#path, () => this.#handle.appendFile(rowLine(epoch, hash)));
  }

  sync(): Promise<void> {
    return onFile(this.#path, () => this.#handle.datasync());
  }

  close(): Promise<void> {
    return onFile(this.#path, () => this.#handle.close());
  }
}

/** Line by line: a damaged journal may be all newlines. */
function readRows(bytes: Uint8Array): ReadonlyMap<number, string> {
  const rows = new Map<number, string>();
  let begin = 0;
  for (;;) {
    // A line without its newline was cut off while it was written.
    const end = bytes.indexOf(NEWLINE, begin);
    if (end < 0 || end - begin > MAX_ROW_LINE) return rows;
    const line = Buffer.from(bytes.subarray(begin, end)).toString('latin1');
    const match = /^\{"epoch":(\d+),"xxh64":"([0-9a-f]{16})"\}$/.exec(line);
    if (match === null) return rows;
    rows.set(Number(match[1]), match[2]);
    begin = end + 1;
  }
}

function rowLine(epoch: number, hash: string): string {
  return `{"epoch":${epoch},"xxh64":"${hash}"}\n`;
}
