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
import { type StudentInput, type StudentShape, TokenStudent } from './student.js';

export interface Recipe {
  readonly shape: Omit<StudentShape, 'vocabulary' | 'positions'>;
  readonly epochs: number;
  /** Tokens of a step. */
  readonly window: number;
  readonly learningRate: number;
}

/** What a student learns from: texts of an archive with its labels, its texts alone, or the teacher itself. */
export type Lesson = 'labels' | 'text' | 'teacher';

/** A student's divergence from the teacher and cross-entropy of the text, summed over each text that it did not learn from. */
export interface Judged {
  readonly kl: readonly number[];
  readonly nll: readonly number[];
}

/** Texts with their labels, packed into windows. */
export interface PackedTexts extends AsyncDisposable {
  readonly vocabulary: number;
  windows(options: WindowOptions): AsyncIterable<TokenWindow<TokenTargets>>;
}

/** A window as the student reads it. */
type Window = StudentInput & { readonly targets: TokenTargets };

/** Windows of some texts, with the position of each token in its text. */
async function* windowsOf(
  packed: PackedTexts,
  length: number,
  order: readonly number[],
): AsyncGenerator<Window> {
  let [last, offset] = [-1, 0];
  const windows = packed.windows({ length, sequences: order });
  for await (const { tokens, sequences, targets } of windows) {
    const offsets = Int32Array.from(sequences, (sequence) => {
      // A text that begins in one window goes on in the next.
      offset = sequence === last ? offset + 1 : 0;
      last = sequence;
      return offset;
    });
    yield { tokens, sequences, offsets, targets };
  }
}

export interface TrainSetting {
  readonly packed: PackedTexts;
  readonly answers: readonly Answer[];
  readonly recipe: Recipe;
  readonly onStep: (step: number, steps: number, loss: number) => void;
  readonly signal: AbortSignal;
}

/** Trains a student; those of one seed begin alike and see the same windows, whatever they learn from. */
export async function trainStudent(
  lesson: Lesson,
  seed: number,
  { packed, answers, recipe, onStep, signal }: TrainSetting,
): Promise<TokenStudent> {
  const { epochs, window, learningRate, shape } = recipe;
  const positions = answers.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
  const student = new TokenStudent({ ...shape, positions, vocabulary: packed.vocabulary }, seed);
  const all = answers.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const steps = epochs * Math.ceil(all / window);
  const schedule = cosineSchedule({ peak: learningRate, steps, warmup: Math.ceil(steps / 20) });
  using optimizer = new AdamW(student.variables, { learningRate, weightDecay: 0.01 });
  let step = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const random = new RandomSequence(seed, STREAM.training, 2 + epoch);
    const order = Array.from(random.distinct(answers.length, answers.length));
    for await (const own of windowsOf(packed, window, order)) {
      throwIfAborted(signal);
      optimizer.learningRate = schedule(step);
      const loss = tf.tidy(() => {
        const { value, grads } = tf.variableGrads(
          () => lossOf(lesson, student.apply(own), own, answers),
          student.variables as tf.Variable[],
        );
        optimizer.step(grads);
        return value;
      });
      const [value] = await loss.data();
      loss.dispose();
      onStep(++step, steps, value);
    }
  }
  return student;
}

function lossOf(
  lesson: Lesson,
  logits: tf.Tensor2D,
  own: Window,
  answers: readonly Answer[],
): tf.Scalar {
  switch (lesson) {
    case 'labels':
      return tokenLoss(logits, own.targets);
    case 'text':
      return tokenLoss(logits, own.targets, { alpha: 0 });
    case 'teacher': {
      const { log, counted } = teacherOf(own, answers, logits.shape[1]);
      const divergence = log
        .exp()
        .mul(log.sub(tf.logSoftmax(logits)))
        .sum(1);
      return divergence.mul(counted).sum().div(counted.sum()) as tf.Scalar;
    }
  }
}

/** The teacher's whole distributions of a window; those of positions without a label are no distributions. */
function teacherOf({ sequences, offsets }: Window, answers: readonly Answer[], vocabulary: number) {
  const log = new Float32Array(sequences.length * vocabulary);
  const counted = new Float32Array(sequences.length);
  for (let i = 0; i < sequences.length; i++) {
    if (sequences[i] < 0) continue;
    const { first, rows, logs } = answers[sequences[i]];
    const row = offsets[i] - first;
    if (row < 0 || row >= rows) continue;
    log.set(logs.subarray(row * vocabulary, (row + 1) * vocabulary), i * vocabulary);
    counted[i] = 1;
  }
  return {
    log: tf.tensor2d(log, [sequences.length, vocabulary]),
    counted: tf.tensor1d(counted),
  };
}

/** Judges a student by texts that it did not learn from. */
export async function judge(student: TokenStudent, answers: readonly Answer[]): Promise<Judged> {
  const [kl, nll]: [number[], number[]] = [[], []];
  const { vocabulary } = student.shape;
  for (const { tokens, first, rows, logs } of answers) {
    const sums = tf.tidy(() => {
      const read = tokens.subarray(0, first + rows);
      const offsets = read.map((_, i) => i);
      const logits = student.apply({ tokens: read, offsets, sequences: read.map(() => 0) });
      const own = tf.logSoftmax(logits.slice([first, 0], [rows, vocabulary]));
      const teacher = tf.tensor2d(logs, [rows, vocabulary]);
      const divergence = teacher.exp().mul(teacher.sub(own)).sum();
      const pairs = Array.from({ length: rows }, (_, i) => [i, tokens[first + 1 + i]]);
      const right = tf.gatherND(own, tf.tensor2d(pairs, [rows, 2], 'int32'));
      return tf.stack([divergence, right.sum().neg()]);
    });
    const [divergence, surprise] = await sums.data();
    sums.dispose();
    kl.push(divergence);
    nll.push(surprise);
  }
  return { kl, nll };
}
