import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory, removeTemporaries, replaceFile } from '../container/durable.js';
import { canonicalJson, isJsonObject, type JsonObject, parseJson } from '../core/json.js';
import { invalidFile, SoftpackError } from '../errors.js';
import { readLocalFile } from '../store/local.js';

/** Written when all jobs of all shards are done. */
export const SYNTHESIS_FILE = 'synthesis.json';
/** Hidden, so that no one takes it for a class. */
export const JOBS_FOLDER = '.synthesis';
const REQUEST_FILE = 'request.json';
/** A record has a few hundred bytes per image. */
export const MAX_RECORD_BYTES = 1 << 28;

/** What finished jobs reached: a file each, written after the job's images, so that a killed run repeats one job at most. */
export class JobRecords {
  readonly folder: string;
  readonly #out: string;
  readonly #jobs: number;

  private constructor(out: string, jobs: number) {
    this.#out = out;
    this.folder = join(out, JOBS_FOLDER);
    this.#jobs = jobs;
  }

  /** @throws `ALREADY_EXISTS` if the folder has images of another request, naming what differs. */
  static async open(out: string, request: object, jobs: number): Promise<JobRecords> {
    const records = new JobRecords(out, jobs);
    await recordRequest(out, records.folder, request);
    return records;
  }

  has(job: number): boolean {
    return existsSync(this.#pathOf(job));
  }

  async write(job: number, record: object): Promise<void> {
    await removeTemporaries(this.folder, [recordName(job)]);
    await replaceFile(this.#pathOf(job), recordBytes(record));
  }

  read(job: number): Promise<JsonObject> {
    return readObject(this.#pathOf(job));
  }

  done(): readonly number[] {
    return Array.from({ length: this.#jobs }, (_, job) => job).filter((job) => this.has(job));
  }

  /** The run as a whole, next to its images. */
  async finish(summary: object): Promise<void> {
    await removeTemporaries(this.#out, [SYNTHESIS_FILE]);
    await replaceFile(join(this.#out, SYNTHESIS_FILE), recordBytes(summary));
  }

  #pathOf(job: number): string {
    return join(this.folder, recordName(job));
  }
}

/**
 * Writes what was asked for into the folder of a run, or compares it with what is there.
 *
 * @throws `ALREADY_EXISTS` naming `out` and the first difference.
 */
export async function recordRequest(out: string, folder: string, request: object): Promise<void> {
  await makeDirectory(folder);
  const path = join(folder, REQUEST_FILE);
  const asked = canonicalJson(request, 'options') as JsonObject;
  if (existsSync(path)) requireSame(out, await readObject(path), asked);
  else await replaceFile(path, recordBytes(asked));
}

export function requireSame(out: string, found: JsonObject, asked: JsonObject): void {
  const text = (value: unknown) => JSON.stringify(value) ?? 'nothing';
  const keys = [...new Set([...Object.keys(asked), ...Object.keys(found)])];
  const differing = keys.find((key) => text(asked[key]) !== text(found[key]));
  if (differing === undefined) return;
  const message = 'made otherwise before; name another path, or remove what is there';
  throw new SoftpackError('ALREADY_EXISTS', message, {
    field: `${out}: ${differing}`,
    expected: asked[differing] ?? 'nothing',
    found: found[differing] ?? 'nothing',
  });
}

/** File of what a job reached. */
export function recordName(job: number): string {
  return `job-${String(job).padStart(6, '0')}.json`;
}

async function readObject(path: string): Promise<JsonObject> {
  return parseRecord(path, await readLocalFile(path, MAX_RECORD_BYTES));
}

export function parseRecord(name: string, bytes: Uint8Array): JsonObject {
  const json = parseJson(name, 'content', bytes);
  if (isJsonObject(json)) return json;
  throw invalidFile(name, 'content', 'not a record of synthesis', { expected: 'an object' });
}

export function recordBytes(record: object): Uint8Array<ArrayBuffer> {
  return Buffer.from(`${JSON.stringify(canonicalJson(record, 'record'), null, 1)}\n`);
}
