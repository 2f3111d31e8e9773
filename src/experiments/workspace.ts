import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftpackError } from '../errors.js';

export interface StepRecord<T> {
  readonly kind: string;
  readonly parameters: unknown;
  readonly seconds: number;
  readonly result: T;
}

/**
 * Results of steps on disk, by a hash of everything they depend on: a run that was stopped goes on where it was,
 * and experiments share what they have in common.
 */
export class Workspace {
  readonly dir: string;
  readonly #knownOnly: boolean;

  /** `knownOnly`: steps that are not known are refused instead of computed. */
  constructor(dir: string, { knownOnly = false }: { readonly knownOnly?: boolean } = {}) {
    this.dir = dir;
    this.#knownOnly = knownOnly;
  }

  /** Name of a step, and of what it leaves on disk. */
  key(kind: string, parameters: unknown): string {
    const hash = createHash('sha256').update(JSON.stringify(parameters)).digest('hex');
    return `${kind}-${hash.slice(0, 16)}`;
  }

  async known<T>(kind: string, parameters: unknown): Promise<StepRecord<T> | undefined> {
    const text = await readFile(this.#file(kind, parameters), 'utf8').catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as StepRecord<T>);
  }

  /** The result of a step, computed unless it is known; `INCOMPLETE` where nothing shall be computed. */
  async step<T>(kind: string, parameters: unknown, compute: () => Promise<T>): Promise<T> {
    const known = await this.known<T>(kind, parameters);
    if (known !== undefined) return known.result;
    if (this.#knownOnly) throw new SoftpackError('INCOMPLETE', 'not measured yet', { field: kind });
    const start = performance.now();
    const result = await compute();
    const seconds = (performance.now() - start) / 1000;
    const file = this.#file(kind, parameters);
    await mkdir(join(this.dir, 'steps'), { recursive: true });
    await writeFile(`${file}.tmp`, `${JSON.stringify({ kind, parameters, seconds, result })}\n`);
    await rename(`${file}.tmp`, file);
    return result;
  }

  #file(kind: string, parameters: unknown): string {
    return join(this.dir, 'steps', `${this.key(kind, parameters)}.json`);
  }
}
