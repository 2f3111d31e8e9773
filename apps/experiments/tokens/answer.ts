import { CounterRng, STREAM, unit } from '#src/core/philox.js';
import type { LlamaSequence } from '#src/interop/tokens/llama-evaluation.js';
import { drawIds } from '#src/tokens/listed-rows.js';
import type { Prompt, Task } from './prompts.js';

/** A text with the teacher's whole distribution at every token: its own answer to a prompt, or one that was given. */
export interface Answer {
  /** What the student reads of the prompt, then the answer. */
  readonly tokens: Int32Array;
  /** Position of the first label: the last one of the prompt. */
  readonly first: number;
  /** Labels: a token of the answer each, its end included unless it was cut. */
  readonly rows: number;
  /** [rows, vocabulary]: log-probabilities among the ids of the task. */
  readonly logs: Float32Array;
  /** [rows, width], behind the teacher's last norm, if they are known. */
  readonly hidden?: Float32Array;
}

export interface OwnAnswer extends Answer {
  /** Mean probability that the teacher gives to ids of the task. */
  readonly mass: number;
}

const ANSWER_SEED = 20;
const ASK = { generateNext: { probabilities: true } } as const;

/** The teacher's answer to prompt `number`, drawn at temperature 1: equal on every run. */
export async function answer(
  sequence: LlamaSequence,
  { ids, end }: Task,
  { tokens: prompt, teacher }: Prompt,
  number: number,
  most: number,
): Promise<OwnAnswer> {
  const rng = new CounterRng(ANSWER_SEED);
  const own = new Map(Array.from(ids, (id, i) => [id, i]));
  const drawn: number[] = [];
  const logs: Float32Array[] = [];
  let mass = 0;
  await sequence.clearHistory();
  const asked = teacher.map((id, i) => [id, i === teacher.length - 1 ? ASK : {}] as const);
  let evaluated = await sequence.controlledEvaluate(asked);
  for (;;) {
    const all = evaluated[evaluated.length - 1]?.next?.probabilities ?? new Map<number, number>();
    const row = new Float64Array(ids.length);
    for (const [id, probability] of all) {
      const at = own.get(id);
      if (at !== undefined) row[at] = probability;
    }
    const known = row.reduce((sum, p) => sum + p, 0);
    mass += known;
    const [word] = rng.words(number, drawn.length, STREAM.answers, 0);
    const [last] = drawIds(row, Float64Array.of(unit(word)), 0);
    drawn.push(last);
    logs.push(Float32Array.from(row, (p) => Math.log(Math.max(p / known, LEAST))));
    if (last === end || drawn.length === most) break;
    evaluated = await sequence.controlledEvaluate([[ids[last], ASK]]);
  }
  const joined = new Float32Array(logs.length * ids.length);
  for (const [i, row] of logs.entries()) joined.set(row, i * ids.length);
  return {
    tokens: Int32Array.from([...prompt, ...drawn]),
    first: prompt.length - 1,
    rows: drawn.length,
    logs: joined,
    mass: mass / drawn.length,
  };
}

/** Smaller ones are no probabilities of float32. */
const LEAST = 1e-37;
