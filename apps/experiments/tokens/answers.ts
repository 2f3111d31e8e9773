import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '#src/container/durable.js';
import { throwIfAborted } from '#src/errors.js';
import type { LlamaSequence } from '#src/interop/tokens/llama-evaluation.js';
import { readLocalFileIfAny } from '#src/store/local.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { DenseRows, TokenSource } from '#src/tokens/token-source.js';
import { type Answer, answer, type OwnAnswer } from './answer.js';
import type { Task } from './prompts.js';

/** Bytes of a file of one answer. */
const MAX_FILE = 2 ** 28;

/** Answers on disk, a file for each: an interrupted run goes on where it stopped. */
export class Answers {
  readonly #dir: string;
  readonly #vocabulary: number;

  constructor(dir: string, vocabulary: number) {
    this.#dir = dir;
    this.#vocabulary = vocabulary;
  }

  /** Makes those of a task that are missing. */
  async make(
    task: Task,
    most: number,
    sequence: LlamaSequence,
    onProgress: (done: number, made: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await mkdir(this.#dir, { recursive: true });
    let made = 0;
    for (const [i, prompt] of task.prompts.entries()) {
      throwIfAborted(signal);
      if ((await this.read(i)) !== undefined) continue;
      await this.#write(i, await answer(sequence, task, prompt, i, most));
      onProgress(i + 1, ++made);
    }
  }

  /** `undefined`: not made yet. */
  async read(i: number): Promise<OwnAnswer | undefined> {
    const bytes = await readLocalFileIfAny(this.#file(i), MAX_FILE);
    if (bytes === undefined) return undefined;
    const data = bytes.buffer;
    const [length, first, rows] = new Int32Array(data, 0, 3);
    const [mass] = new Float32Array(data, 12, 1);
    const tokens = new Int32Array(data, 16, length);
    const logs = new Float32Array(data, 16 + 4 * length, rows * this.#vocabulary);
    return { tokens, first, rows, logs, mass };
  }

  async #write(i: number, { tokens, first, rows, logs, mass }: OwnAnswer): Promise<void> {
    const parts = [Int32Array.of(tokens.length, first, rows), Float32Array.of(mass), tokens, logs];
    const bytes = Buffer.concat(
      parts.map(({ buffer, byteOffset, byteLength }) =>
        Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength),
      ),
    );
    await replaceFile(this.#file(i), bytes);
  }

  #file(i: number): string {
    return join(this.#dir, `${String(i).padStart(6, '0')}.bin`);
  }
}

/** Answers as labels to pack. */
export function sourceOf(answers: readonly Answer[], vocabulary: number): TokenSource {
  return denseSource(
    answers,
    vocabulary,
    { kind: 'logits', width: vocabulary },
    ({ logs }) => logs,
  );
}

/** Hidden states as labels to pack. */
export function hiddenSourceOf(
  answers: readonly Answer[],
  { vocabulary, width }: OutputHead,
): TokenSource {
  const shape = { kind: 'hidden', width } as const;
  return denseSource(answers, vocabulary, shape, ({ hidden }) => {
    if (hidden === undefined) throw new TypeError('a text without hidden states');
    return hidden;
  });
}

function denseSource(
  answers: readonly Answer[],
  vocabulary: number,
  shape: Pick<DenseRows, 'kind' | 'width'>,
  valuesOf: (answer: Answer) => Float32Array,
): TokenSource {
  return {
    vocabulary,
    async *sequences() {
      for (const [i, own] of answers.entries()) {
        const { tokens, first, rows } = own;
        const read = async (start: number, count: number) =>
          valuesOf(own).subarray(start * shape.width, (start + count) * shape.width);
        yield { name: `answer ${i}`, tokens, first, rows, labels: { ...shape, read } };
      }
    },
  };
}
