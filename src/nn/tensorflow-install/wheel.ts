import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { type Entry, open, type ZipFile } from 'yauzl';
import { errorMessage, SoftpackError } from '../../errors.js';

export interface WheelFacts {
  /** Distribution and version, e.g. `tensorflow-cpu`, `2.21.0`. */
  readonly name: string;
  readonly version: string;
  /** Text of METADATA. */
  readonly metadata: string;
  /** The wheel's platform and interpreter tags. */
  readonly tags: string;
}

export interface ExtractOptions {
  readonly needed: (path: string) => boolean;
  readonly into: string;
  /** Bytes unpacked, of the bytes to unpack. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A Python wheel: a zip file whose RECORD lists a sha256 of every member. */
export class Wheel implements Disposable {
  readonly facts: WheelFacts;
  readonly #file: string;
  readonly #zip: ZipFile;
  readonly #entries: readonly Entry[];
  /** Path -> base64url of its sha256. */
  readonly #record: ReadonlyMap<string, string>;

  private constructor(
    file: string,
    zip: ZipFile,
    entries: readonly Entry[],
    texts: Record<'metadata' | 'record' | 'wheel', string>,
  ) {
    this.#file = file;
    this.#zip = zip;
    this.#entries = entries;
    this.#record = parseRecord(texts.record);
    this.facts = {
      name: header(texts.metadata, 'Name').toLowerCase().replaceAll('_', '-'),
      version: header(texts.metadata, 'Version'),
      metadata: texts.metadata,
      tags: header(texts.wheel, 'Tag'),
    };
  }

  /** Throws `INVALID_FILE` if the file is not a whole wheel. */
  static async open(file: string): Promise<Wheel> {
    let zip: ZipFile | undefined;
    try {
      zip = await openZip(file, { lazyEntries: true, autoClose: false });
      const entries = await readEntries(zip);
      const texts = { metadata: '', record: '', wheel: '' };
      for (const part of ['metadata', 'record', 'wheel'] as const) {
        const pattern = new RegExp(`^[^/]+\\.dist-info/${part.toUpperCase()}$`);
        const entry = entries.find(({ fileName }) => pattern.test(fileName));
        if (entry === undefined) throw new Error(`no ${part.toUpperCase()} in it`);
        texts[part] = (await buffer(await openEntry(zip, entry))).toString('utf8');
      }
      return new Wheel(file, zip, entries, texts);
    } catch (error) {
      zip?.close();
      const found = errorMessage(error);
      throw new SoftpackError('INVALID_FILE', 'not a whole Python wheel', {
        field: file,
        found,
        cause: error,
      });
    }
  }

  /** Unpacks members, each checked against RECORD, and returns their paths; `CORRUPT_DATA` if one differs. */
  async extract({ needed, into, onProgress, signal }: ExtractOptions): Promise<readonly string[]> {
    const entries = this.#entries.filter(({ fileName }) => needed(fileName));
    const total = entries.reduce((sum, { uncompressedSize }) => sum + uncompressedSize, 0);
    let done = 0;
    for (const entry of entries) {
      const target = inside(into, entry.fileName);
      const hash = createHash('sha256');
      const hashing = new Transform({
        transform(chunk: Buffer, _encoding, callback) {
          hash.update(chunk);
          done += chunk.length;
          onProgress?.(done, total);
          callback(null, chunk);
        },
      });
      await mkdir(dirname(target), { recursive: true });
      await pipeline(await openEntry(this.#zip, entry), hashing, createWriteStream(target), {
        signal,
      });
      this.#check(entry.fileName, hash.digest('base64url'));
    }
    return entries.map(({ fileName }) => fileName);
  }

  [Symbol.dispose](): void {
    this.#zip.close();
  }

  #check(path: string, found: string): void {
    const expected = this.#record.get(path);
    if (found === expected) return;
    throw new SoftpackError('CORRUPT_DATA', 'sha256 differs from the RECORD of the wheel', {
      field: `${this.#file}: ${path}`,
      expected,
      found,
    });
  }
}

const openZip = promisify(open) as (
  path: string,
  options: { lazyEntries: boolean; autoClose: boolean },
) => Promise<ZipFile>;

function readEntries(zip: ZipFile): Promise<Entry[]> {
  return new Promise((done, fail) => {
    const entries: Entry[] = [];
    zip.on('entry', (entry: Entry) => {
      entries.push(entry);
      zip.readEntry();
    });
    zip.on('end', () => done(entries));
    zip.on('error', fail);
    zip.readEntry();
  });
}

function openEntry(zip: ZipFile, entry: Entry): Promise<NodeJS.ReadableStream> {
  return new Promise((done, fail) => {
    zip.openReadStream(entry, (error, stream) => (error ? fail(error) : done(stream)));
  });
}

/** Lines of RECORD are `path,sha256=<base64url>,bytes`; the paths needed here have no commas. */
function parseRecord(text: string): Map<string, string> {
  const pattern = /^"?([^",\n]+)"?,sha256=([\w-]+),\d*\r?$/gm;
  return new Map([...text.matchAll(pattern)].map(([, path, digest]) => [path, digest]));
}

function header(text: string, name: string): string {
  return new RegExp(`^${name}:\\s*(.+?)\\s*$`, 'm').exec(text)?.[1] ?? '';
}

function inside(folder: string, path: string): string {
  const target = resolve(folder, path);
  if (target.startsWith(resolve(folder) + sep)) return target;
  throw new SoftpackError('INVALID_FILE', 'a member would be written outside', {
    field: 'wheel',
    found: join(path),
  });
}
