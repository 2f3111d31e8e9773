import { setImmediate } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { throwIfAborted } from '#src/errors.js';
import type { TokenWindow, WindowOptions } from '#src/tokens/windows.js';
import { AdamW } from '#src/training/optimiser.js';
import { cosineSchedule } from '#src/training/schedule.js';
import { tokenLoss } from '#src/training/token-loss.js';
import type { TokenTargets } from '#src/training/token-targets.js';
import type { Answer } from './answer.js';
import type { TeacherHead } from './corpus.js';
import type { Predictor } from './predictor.js';
import { type StudentInput, type StudentShape, TokenStudent } from './student.js';

export interface Recipe {
  readonly shape: Omit<StudentShape, 'vocabulary' | 'positions'>;
  /** How often each text is seen. */
  readonly passes: number;
  /** Tokens of a step. */
  readonly window: number;
  readonly learningRate: number;
}

/**
 * What a student learns from: texts of an archive with its labels, its texts alone, the teacher itself, or what a
 * predictor makes of the texts instead of it.
 */
export type Lesson = 'labels' | 'text' | 'teacher' | 'predictor';

/** Texts with their labels, packed into windows. */
export interface PackedTexts extends AsyncDisposable {
  windows(options: WindowOptions): AsyncIterable<TokenWindow<TokenTargets>>;
}

/** A window as the student reads it. */
interface Window {
  readonly input: StudentInput;
  readonly targets: TokenTargets;
}

export interface TrainSetting {
  readonly packed: PackedTexts;
  readonly answers: readonly Answer[];
  readonly head: TeacherHead;
  readonly recipe: Recipe;
  /** Of a text's tokens, at most. */
  readonly positions: number;
  /** Needed by the lesson of that name. */
  readonly predictor?: Predictor;
  /** Of the order of texts; default: the seed. */
  readonly order?: number;
  readonly onStep: (step: number, steps: number, loss: number) => void;
  readonly signal: AbortSignal;
}

export function stepsOf(answers: readonly Answer[], { passes, window }: Recipe): number {
  const all = answers.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return passes * Math.ceil(all / window);
}

export function newStudent(
  { shape }: Recipe,
  { vocabulary }: TeacherHead,
  positions: number,
  seed: number,
): TokenStudent {
  return new TokenStudent({ ...shape, positions, vocabulary }, seed);
}

/** Trains a student; those of one seed begin alike and see the same windows, whatever they learn from. */
export async function trainStudent(
  lesson: Lesson,
  seed: number,
  setting: TrainSetting,
): Promise<TokenStudent> {
  const { answers, head, recipe, positions, order: shuffle = seed, onStep, signal } = setting;
  const { passes, learningRate } = recipe;
  const student = newStudent(recipe, head, positions, seed);
  const steps = stepsOf(answers, recipe);
  const schedule = cosineSchedule({ peak: learningRate, steps, warmup: Math.ceil(steps / 20) });
  using optimizer = new AdamW(student.variables, { learningRate, weightDecay: 0.01 });
  const alpha = lesson === 'text' ? 0 : 1;
  let step = 0;
  for (let pass = 0; pass < passes; pass++) {
    const random = new RandomSequence(shuffle, STREAM.training, 2 + pass);
    const order = Array.from(random.distinct(answers.length, answers.length));
    for await (const { input, targets } of windowsOf(lesson, order, setting)) {
      throwIfAborted(signal);
      optimizer.learningRate = schedule(step);
      const loss = tf.tidy(() => {
        const { value, grads } = tf.variableGrads(
          () => tokenLoss(student.apply(input), targets, { alpha }),
          student.variables as tf.Variable[],
        );
        optimizer.step(grads);
        return value;
      });
      const [value] = await loss.data();
      loss.dispose();
      // Signals of the system are heard between steps alone.
      await setImmediate();
      onStep(++step, steps, value);
    }
  }
  return student;
}

/** Windows of some texts, with the position of each token in its text. */
async function* windowsOf(
  lesson: Lesson,
  order: readonly number[],
  { packed, answers, head, recipe, predictor }: TrainSetting,
): AsyncGenerator<Window> {
  let [last, offset] = [-1, 0];
  const windows = packed.windows({ length: recipe.window, sequences: order });
  for await (const { tokens, sequences, targets } of windows) {
    const offsets = Int32Array.from(sequences, (sequence) => {
      // A text that begins in one window goes on in the next.
      offset = sequence === last ? offset + 1 : 0;
      last = sequence;
      return offset;
    });
    const known = lesson === 'teacher' || recipe.shape.informed !== undefined;
    const states = known ? await statesOf(sequences, offsets, answers, head.width) : undefined;
    const input = { tokens, sequences, offsets, states };
    const from = lesson === 'predictor' ? predictor?.states(sequences, offsets, answers) : states;
    const instead = lesson === 'teacher' || lesson === 'predictor' ? from : undefined;
    if (instead === undefined) yield { input, targets };
    else {
      const { vocabulary, positions, next, counts } = targets;
      const hidden = { kind: 'hidden', head: head.tensor, hidden: instead } as const;
      yield { input, targets: { ...hidden, vocabulary, positions, next, counts } };
    }
  }
}

/** The teacher's states of a window, 0 at positions without a label. */
async function statesOf(
  sequences: Int32Array,
  offsets: Int32Array,
  answers: readonly Answer[],
  width: number,
): Promise<Float32Array> {
  const out = new Float32Array(sequences.length * width);
  let [read, states] = [-1, new Float32Array()];
  for (let i = 0; i < sequences.length; i++) {
    if (sequences[i] < 0) continue;
    const { first, rows } = answers[sequences[i]];
    const row = offsets[i] - first;
    if (row < 0 || row >= rows) continue;
    if (read !== sequences[i])
      states = (await answers[sequences[i]].states()) as Float32Array<ArrayBuffer>;
    read = sequences[i];
    out.set(states.subarray(row * width, (row + 1) * width), i * width);
  }
  return out;
}
