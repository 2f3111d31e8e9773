import { argument } from '../core/check.js';
import { below, CounterRng, STREAM } from '../core/philox.js';
import { SoftpackError } from '../errors.js';

/** One try at an image: its crops are those of epochs `draw * crops` and on. */
export interface Candidate {
  readonly image: number;
  readonly draw: number;
}

export interface CandidateSettings {
  readonly seed: number;
  readonly candidates: number;
  readonly draws: number;
}

/** The images of each class of the teacher from `first` to `end`, in the order of their ids. */
export function imagesByClass(
  targets: Uint32Array,
  [first, end]: readonly [number, number],
): readonly (readonly number[])[] {
  const found: number[][] = Array.from({ length: end - first }, () => []);
  for (const [image, target] of targets.entries()) {
    if (target >= first && target < end) found[target - first].push(image);
  }
  return found;
}

/** Images of a class in random order, at most `candidates` of them, then the same ones again for each further draw. */
export function candidatesOf(
  images: readonly number[],
  target: number,
  { seed, candidates, draws }: CandidateSettings,
): readonly Candidate[] {
  const rng = new CounterRng(seed);
  const order = [...images];
  for (let i = order.length - 1; i > 0; i--) {
    const [word] = rng.words(target, 0, STREAM.synthesis, i);
    const j = below(word, i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  const chosen = order.slice(0, candidates);
  return Array.from({ length: draws }, (_, draw) =>
    chosen.map((image) => ({ image, draw })),
  ).flat();
}

/** Refuses classes that have fewer crops than their images need. */
export function requireEnough(
  byClass: readonly (readonly number[])[],
  first: number,
  { candidates, draws }: CandidateSettings,
  { ipc, factor }: { readonly ipc: number; readonly factor: number },
): void {
  const needed = ipc * factor ** 2;
  const tries = (images: readonly number[]) => Math.min(images.length, candidates) * draws;
  const poor = byClass.findIndex((images) => tries(images) < needed);
  if (poor < 0) return;
  const count = byClass.filter((images) => tries(images) < needed).length;
  const images = byClass[poor].length;
  const message =
    images === 0
      ? 'a class without images; name the classes to take'
      : 'too few images; take more draws of each, fewer images per class, or a smaller factor';
  throw new SoftpackError('INVALID_ARGUMENT', message, {
    field: images === 0 ? 'images' : 'ipc',
    expected: `at least ${needed} crops in each of ${byClass.length} classes (ipc ${ipc} x factor ${factor} squared)`,
    found: `${tries(byClass[poor])} in class ${first + poor} (${Math.min(images, candidates)} of its ${images} images x ${draws} draws), too few in ${count} classes`,
  });
}

export function checkedRange(
  classes: readonly [number, number] | undefined,
  known: number,
): readonly [number, number] {
  if (classes === undefined) return [0, known];
  const [first, end] = argument.list(classes, 'classes');
  const begin = argument.count(first, 'classes[0]', 0, known - 1);
  return [begin, argument.count(end, 'classes[1]', begin + 1, known)];
}
