import type { Provenance } from '../../archive/provenance.js';
import { requireSame } from '../../archive/spec.js';
import { sha256 } from '../../container/checksum.js';
import { FieldChecker } from '../../core/check.js';
import { canonicalJson, isJsonObject, type JsonObject, parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import { nameIn } from '../../store/address.js';
import { readStored } from '../../store/read-stored.js';
import type { WriteOptions } from '../../store/writable-store.js';
import type { JobStores } from './stores.js';

/** Everything that the bytes of what a job makes depend on; more by its kind. */
export interface JobContent {
  /** Name of its kind. */
  readonly kind: string;
  /** Version of the program that planned it. */
  readonly softpack: string;
}

export interface Job<Content extends JobContent = JobContent, Options extends object = object> {
  /** Hash of the content, hex. */
  readonly id: string;
  readonly content: Content;
  /** As they were given; paths may be others on other machines. */
  readonly options: Options;
  readonly provenance: Provenance;
}

export const JOB_FILE = 'job.json';
const MAX_JOB_BYTES = 16 * 2 ** 20;
const VERSION = 2;

export function jobOf<Content extends JobContent, Options extends object>(
  content: Content,
  options: Options,
  provenance: Provenance,
): Job<Content, Options> {
  return { id: idOf(content), content, options, provenance };
}

function idOf(content: JobContent): string {
  return sha256(Buffer.from(JSON.stringify(canonicalJson(content, 'job'))));
}

/** Puts the job into its store; one that is there already must be the same. */
export async function keepJob(stores: JobStores, job: Job, options: WriteOptions): Promise<void> {
  const file = { format: 'softpack job', version: VERSION, ...job };
  const text = `${JSON.stringify(canonicalJson(file, 'job'), null, 2)}\n`;
  if (await stores.job.putIfAbsent(JOB_FILE, Buffer.from(text), options)) return;
  requireSameJob(await readJob(stores, options), job);
}

/** `ALREADY_EXISTS` with the first difference if another job is there. */
export function requireSameJob(there: Job, asked: Job): void {
  const plain = ({ content }: Job) => canonicalJson(content, 'job') as JsonObject;
  const message = 'another job is there; choose another place';
  requireSame(plain(there), plain(asked), 'ALREADY_EXISTS', message);
}

/** `NOT_FOUND` if there is no job. */
export async function readJob(stores: JobStores, options: WriteOptions = {}): Promise<Job> {
  const found = await findJob(stores, options);
  if (found !== undefined) return found;
  const details = {
    field: stores.address,
    expected: 'what softpack cache plan, or --job of another command, wrote',
  };
  throw new SoftpackError('NOT_FOUND', 'no job here', details);
}

export async function findJob(
  { job: store }: JobStores,
  options: WriteOptions,
): Promise<Job | undefined> {
  const bytes = await readStored(store, JOB_FILE, MAX_JOB_BYTES, options);
  return bytes && parseJob(nameIn(store.name, JOB_FILE), bytes);
}

function parseJob(file: string, bytes: Uint8Array): Job {
  const json = parseJson(file, 'content', bytes);
  if (!isJsonObject(json)) throw invalidFile(file, 'content', 'not an object', { found: json });
  const check = new FieldChecker(file, 'INVALID_FILE');
  check.that(json.format === 'softpack job', json.format, 'format', 'softpack job');
  if (json.version !== VERSION) {
    throw new SoftpackError('UNSUPPORTED', 'job of another version of softpack', {
      field: `${file}: version`,
      expected: VERSION,
      found: JSON.stringify(json.version),
    });
  }
  const id = check.digest(json.id, 'id');
  const content = check.object(json.content, 'content');
  check.text(content.kind, 'content.kind');
  const job = {
    id,
    content: content as unknown as JobContent,
    options: check.object(json.options, 'options'),
    provenance: check.object(json.provenance, 'provenance'),
  };
  const found = idOf(job.content);
  if (found === id) return job;
  const details = { field: `${file}: id`, expected: id, found };
  throw new SoftpackError('CORRUPT_DATA', 'job was changed after it was planned', details);
}
