import { CounterRng, STREAM, unit } from '#src/core/philox.js';
import type { LlamaSequence } from '#src/interop/tokens/llama-evaluation.js';
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

/** Draws of answers, apart from those of the codecs' samples. */
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
    const row = new Float32Array(ids.length);
    for (const [id, probability] of all) {
      const at = own.get(id);
      if (at !== undefined) row[at] = probability;
    }
    const known = row.reduce((sum, p) => sum + p, 0);
    mass += known;
    const uniform = unit(rng.words(number, drawn.length, STREAM.tokens, 0)[0]);
    drawn.push(draw(row, uniform * known));
    logs.push(row.map((p) => Math.log(Math.max(p / known, LEAST))));
    const last = drawn[drawn.length - 1];
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

function draw(weights: Float32Array, goal: number): number {
  let [below, last] = [0, 0];
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] === 0) continue;
    below += weights[id];
    last = id;
    if (below > goal) break;
  }
  return last;
}
