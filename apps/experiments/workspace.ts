import { createHash } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftpackError } from '#src/errors.js';

export interface StepRecord<T> {
  readonly kind: string;
  readonly parameters: unknown;
  readonly seconds: number;
  readonly result: T;
}

/** Claims of this process. */
const CLAIMS = new Set<string>();

/** Another process is computing this step: try again later. */
export class BusyStep extends Error {}

/**
 * Results of steps on disk, by a hash of everything they depend on: interrupted runs are resumed, experiments share
 * common steps, and several processes may work at a time.
 */
export class Workspace {
  readonly dir: string;
  readonly #knownOnly: boolean;

  /** `knownOnly`: steps that are not known are refused instead of computed. */
  constructor(dir: string, { knownOnly = false }: { readonly knownOnly?: boolean } = {}) {
    this.dir = dir;
    this.#knownOnly = knownOnly;
  }

  /** Name of a step and of its result on disk. */
  key(kind: string, parameters: unknown): string {
    const hash = createHash('sha256').update(JSON.stringify(parameters)).digest('hex');
    return `${kind}-${hash.slice(0, 16)}`;
  }

  async known<T>(kind: string, parameters: unknown): Promise<StepRecord<T> | undefined> {
    const file = this.#file(`${this.key(kind, parameters)}.json`);
    const text = await readFile(file, 'utf8').catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as StepRecord<T>);
  }

  /**
   * The result of a step, computed unless it is known; `INCOMPLETE` if nothing may be computed, `BusyStep` if another
   * process is computing it.
   */
  async step<T>(kind: string, parameters: unknown, compute: () => Promise<T>): Promise<T> {
    const known = await this.known<T>(kind, parameters);
    if (known !== undefined) return known.result;
    const key = this.key(kind, parameters);
    return this.exclusive(key, async () => {
      // The process that held the claim a moment ago may have finished the step.
      const meanwhile = await this.known<T>(kind, parameters);
      if (meanwhile !== undefined) return meanwhile.result;
      const start = performance.now();
      const result = await compute();
      const seconds = (performance.now() - start) / 1000;
      const file = this.#file(`${key}.json`);
      await writeFile(`${file}.tmp`, `${JSON.stringify({ kind, parameters, seconds, result })}\n`);
      await rename(`${file}.tmp`, file);
      return result;
    });
  }

  /** Runs `work` while no other process on this machine runs work of the same key. */
  async exclusive<T>(key: string, work: () => Promise<T>): Promise<T> {
    if (this.#knownOnly) throw new SoftpackError('INCOMPLETE', 'not measured yet', { field: key });
    const claim = this.#file(`${key}.claim`);
    await mkdir(join(this.dir, 'steps'), { recursive: true });
    await this.#take(claim);
    CLAIMS.add(claim);
    try {
      return await work();
    } finally {
      CLAIMS.delete(claim);
      await rm(claim, { force: true });
    }
  }

  async #take(claim: string): Promise<void> {
    if (await claimed(claim)) return;
    const owner = Number(await readFile(claim, 'utf8').catch(() => process.pid));
    if (CLAIMS.has(claim) || (owner !== process.pid && isAlive(owner))) throw new BusyStep(claim);
    // Left by a process that was killed.
    await rm(claim, { force: true });
    if (!(await claimed(claim))) throw new BusyStep(claim);
  }

  #file(name: string): string {
    return join(this.dir, 'steps', name);
  }
}

/** Creates a file with this process's id atomically; false if it exists. */
async function claimed(claim: string): Promise<boolean> {
  const draft = `${claim}.${process.pid}`;
  await writeFile(draft, String(process.pid));
  try {
    await link(draft, claim);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
