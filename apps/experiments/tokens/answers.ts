import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '#src/container/durable.js';
import { SoftpackError, throwIfAborted } from '#src/errors.js';
import { readLocalFile } from '#src/store/local.js';
import { type Answer, type DrawOptions, drawAnswers } from './answer.js';
import type { Llama } from './llama.js';
import type { Prompt } from './prompts.js';

/** Bytes of a file of one answer. */
const MAX_FILE = 2 ** 28;
/** Prompts that are answered together: a step of the teacher costs little more for 64 than for one. */
const BATCH = 64;
/** Numbers before an answer's tokens: theirs, its first label's position, its labels. */
const HEAD = 3;

/** Answers on disk, a file for each: an interrupted run goes on where it stopped, and states are read when they are needed. */
export class Answers {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /**
   * Makes those that are missing.
   *
   * @param llama nothing is made without it: `INCOMPLETE` if any is missing.
   * @param which of the prompts.
   */
  async make(
    llama: Llama | undefined,
    prompts: readonly Prompt[],
    which: readonly number[],
    options: DrawOptions,
    onProgress: (done: number, made: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await mkdir(this.#dir, { recursive: true });
    const known = new Set(await readdir(this.#dir));
    const missing = which.filter((i) => !known.has(nameOf(i)));
    if (llama === undefined) {
      if (missing.length === 0) return;
      const details = {
        field: this.#dir,
        expected: which.length,
        found: `${missing.length} less`,
      };
      throw new SoftpackError('INCOMPLETE', 'answers are not made yet', details);
    }
    let made = 0;
    for (const batch of alike(missing, (i) => prompts[i].teacher.length)) {
      throwIfAborted(signal);
      const asked = batch.map((i) => prompts[i].teacher);
      const drawn = await drawAnswers(llama, asked, batch, options);
      for (const [at, { ids, states }] of drawn.entries()) {
        const { tokens } = prompts[batch[at]];
        const head = Int32Array.of(tokens.length + ids.length, tokens.length - 1, ids.length);
        await this.#write(batch[at], head, Int32Array.from([...tokens, ...ids]), states);
      }
      made += batch.length;
      onProgress(which.length - missing.length + made, made);
    }
  }

  async read(i: number): Promise<Answer> {
    const file = this.#file(i);
    const open = async () => (await readLocalFile(file, MAX_FILE)).buffer;
    const data = await open();
    const [length, first, rows] = new Int32Array(data, 0, HEAD);
    const tokens = new Int32Array(data, 4 * HEAD, length).slice();
    return {
      ...{ tokens, first, rows },
      states: async () => new Float32Array(await open(), 4 * (HEAD + length)),
    };
  }

  async #write(
    i: number,
    ...parts: readonly (Int32Array<ArrayBuffer> | Float32Array)[]
  ): Promise<void> {
    const bytes = Buffer.concat(
      parts.map(({ buffer, byteOffset, byteLength }) =>
        Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength),
      ),
    );
    await replaceFile(this.#file(i), bytes);
  }

  #file(i: number): string {
    return join(this.#dir, nameOf(i));
  }
}

function nameOf(i: number): string {
  return `${String(i).padStart(6, '0')}.bin`;
}

/** Batches of items of one length. */
function alike(items: readonly number[], lengthOf: (item: number) => number): number[][] {
  const byLength = new Map<number, number[]>();
  for (const item of items) {
    const group = byLength.get(lengthOf(item)) ?? [];
    byLength.set(lengthOf(item), [...group, item]);
  }
  return [...byLength.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / BATCH) }, (_, i) =>
      group.slice(i * BATCH, (i + 1) * BATCH),
    ),
  );
}
