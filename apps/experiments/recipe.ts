import { EMOJI_CATEGORIES } from '../demo/emoji.js';
import { TEACHER, type TeacherRecipe } from '../demo/recipe.js';

/** Size of the experiments: the full one takes hours on two cores, the quick one a quarter of an hour. */
export interface Scale {
  readonly name: 'full' | 'quick';
  /** Emoji categories, and with them the number of classes. */
  readonly categories: readonly string[];
  /** Images per class: number of the designers' sets that are distilled. */
  readonly ipcs: readonly number[];
  /** Epochs of labels, and of every student. */
  readonly epochs: number;
  /** Students per cell, by images per class; their spread is the standard deviation. */
  readonly students: Readonly<Record<number, number>>;
  /** Training steps of the VQAE. */
  readonly codecSteps: number;
  readonly teacherEpochs: Readonly<Record<Family, number>>;
}

export type Family = 'residual' | 'plain' | 'deep' | 'shallow';

/** All but flags, which differ too little, and skin tones. */
const ALL_CATEGORIES = [
  'Smileys & Emotion',
  'People & Body',
  'Animals & Nature',
  'Food & Drink',
  'Travel & Places',
  'Activities',
  'Objects',
  'Symbols',
] as const;

export const FULL: Scale = {
  name: 'full',
  categories: ALL_CATEGORIES,
  ipcs: [1, 2, 3],
  epochs: 40,
  students: { 1: 3, 2: 2, 3: 1 },
  codecSteps: 1000,
  teacherEpochs: { residual: 100, plain: 60, deep: 60, shallow: 60 },
};

export const QUICK: Scale = {
  name: 'quick',
  categories: EMOJI_CATEGORIES,
  ipcs: [1],
  epochs: 40,
  students: { 1: 2 },
  codecSteps: 300,
  teacherEpochs: { residual: 30, plain: 30, deep: 20, shallow: 30 },
};

/** Four kinds of teacher: with residual blocks, without, deep and narrow, shallow and wide. */
const FAMILIES = {
  residual: { widths: [32, 64, 128], blocks: [1, 1, 1] },
  plain: { widths: [48, 96, 192], blocks: [0, 0, 0] },
  deep: { widths: [24, 48, 96], blocks: [2, 2, 2] },
  shallow: { widths: [48, 96], blocks: [0, 1] },
} as const;

export const FAMILY_NAMES = Object.keys(FAMILIES) as readonly Family[];

export function teacherRecipe(family: Family, scale: Scale): TeacherRecipe {
  return { ...TEACHER, ...FAMILIES[family], epochs: scale.teacherEpochs[family] };
}

export type StudentName = 'plain' | 'wide' | 'residual';

/** Students; the first is used in every table except the one that compares them. */
export const STUDENTS: Readonly<
  Record<StudentName, { readonly widths: readonly number[]; readonly blocks: readonly number[] }>
> = {
  plain: { widths: [32, 64, 128], blocks: [0, 0, 0] },
  wide: { widths: [48, 128], blocks: [0, 0] },
  residual: { widths: [24, 48, 96], blocks: [0, 0, 1] },
};

/** Training of every student: AdamW with a cosine, as in the demo. */
export const STUDENT_TRAINING = { batch: 64, lr: 0.02, warmup: 50, weightDecay: 0.05 } as const;

/** LPQLD's decay of the labels' temperature, at the same shares of the training as in its 300 epochs. */
export function decayEvery(epochs: number): number {
  return Math.max(1, Math.round(epochs / 10));
}
