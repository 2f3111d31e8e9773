import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { HiddenArchive, HiddenLabels } from './hidden/hidden-archive.js';
import type { HiddenStates, ListedTargets } from './targets.js';
import type { TokenArchive, TokenLabels } from './token-archive.js';

/** Texts one after the other, cut to one length, with their labels. */
export interface TokenWindow<Targets = ListedTargets> {
  /** [length], the student's input; 0 behind the end of the last text. */
  readonly tokens: Int32Array;
  /** Of the same positions; those without a label do not count. */
  readonly targets: Targets;
  /** [length]: sequence that each position belongs to, for attention that keeps texts apart; -1 behind the last one. */
  readonly sequences: Int32Array;
}

export interface WindowOptions {
  /** Positions of a window. */
  readonly length: number;
  /** Sequences in the order in which they are read, e.g. shuffled for an epoch. Default: all, as they are stored. */
  readonly sequences?: Iterable<number>;
}

type AnyLabels = TokenLabels | HiddenLabels;
type AnyTargets = ListedTargets | HiddenStates;
/** What windows are made of. */
type AnyArchive = Pick<TokenArchive, 'sequences' | 'text'> & {
  labels(sequence: number): Promise<AnyLabels>;
};

/**
 * Packs the texts of an archive into windows without padding between them; the last window is filled up. Hidden states
 * become targets of `tokenLoss` with the teacher's output matrix: `{ ...targets, head }`.
 *
 * @throws `UNSUPPORTED` for a sequence whose text is not stored.
 */
export function tokenWindows(
  archive: TokenArchive,
  options: WindowOptions,
): AsyncGenerator<TokenWindow, void, undefined>;
export function tokenWindows(
  archive: HiddenArchive,
  options: WindowOptions,
): AsyncGenerator<TokenWindow<HiddenStates>, void, undefined>;
export async function* tokenWindows(
  archive: AnyArchive,
  { length, sequences }: WindowOptions,
): AsyncGenerator<TokenWindow<AnyTargets>, void, undefined> {
  argument.count(length, 'length', 1, 2 ** 24);
  const order = sequences ?? Array.from({ length: archive.sequences }, (_, i) => i);
  let window: Filling | undefined;
  for (const sequence of order) {
    const { tokens } = await archive.text(sequence);
    if (tokens === undefined) {
      const details = { field: `sequence ${sequence}`, expected: 'a text', found: 'labels alone' };
      throw new SoftpackError('UNSUPPORTED', 'labels without their text make no windows', details);
    }
    const labels = await archive.labels(sequence);
    for (let from = 0; from < tokens.length; ) {
      window ??= new Filling(length, labels);
      from += window.add(sequence, tokens, labels, from);
      if (window.left > 0) continue;
      yield window.result;
      window = undefined;
    }
  }
  if (window !== undefined) yield window.result;
}

/** A window that is being filled. */
class Filling {
  readonly result: TokenWindow<AnyTargets & { readonly counts: Uint8Array }>;
  #filled = 0;

  constructor(length: number, labels: AnyLabels) {
    const { vocabulary } = labels;
    const shared = {
      ...{ vocabulary, positions: length },
      next: new Int32Array(length).fill(-1),
      counts: new Uint8Array(length),
    };
    this.result = {
      tokens: new Int32Array(length),
      targets: { ...shared, ...emptyTargets(labels, length) },
      sequences: new Int32Array(length).fill(-1),
    };
  }

  get left(): number {
    return this.result.tokens.length - this.#filled;
  }

  /** Adds a text from position `from` on, as far as there is room; returns how much of it. */
  add(sequence: number, tokens: Int32Array, labels: AnyLabels, from: number): number {
    const count = Math.min(this.left, tokens.length - from);
    this.result.tokens.set(tokens.subarray(from, from + count), this.#filled);
    this.result.sequences.fill(sequence, this.#filled, this.#filled + count);
    const first = Math.max(from, labels.first);
    const end = Math.min(from + count, labels.first + labels.positions);
    if (first < end) this.#addLabels(labels, first, end, this.#filled + first - from);
    this.#filled += count;
    return count;
  }

  #addLabels(labels: AnyLabels, first: number, end: number, at: number): void {
    const { targets } = this.result;
    const [a, b] = [first - labels.first, end - labels.first];
    copyRows(labels, a, b, targets, at);
    targets.next.set(labels.next.subarray(a, b), at);
    targets.counts.set(labels.counts.subarray(a, b), at);
  }
}

function emptyTargets(labels: AnyLabels, length: number) {
  const { kind, width } = labels;
  if (kind === 'hidden') {
    const hidden = { kind, width, hidden: new Float32Array(length * width) };
    if (labels.exact === undefined) return hidden;
    const entries = length * labels.exact.width;
    const [own, corrections] = [new Int32Array(entries), new Float32Array(entries)];
    return { ...hidden, exact: { width: labels.exact.width, ids: own, corrections } };
  }
  const ids = new Int32Array(length * width);
  const probabilities = new Float32Array(length * width);
  return { kind, width, ids, probabilities, tail: labels.tail };
}

/** Labels [a, b) to positions from `at` on. */
function copyRows(from: AnyLabels, a: number, b: number, to: AnyTargets, at: number): void {
  const { width } = from;
  if (from.kind === 'hidden') {
    if (to.kind !== 'hidden') return;
    to.hidden.set(from.hidden.subarray(a * width, b * width), at * width);
    if (from.exact === undefined || to.exact === undefined) return;
    const { width: most, ids, corrections } = from.exact;
    to.exact.ids.set(ids.subarray(a * most, b * most), at * most);
    to.exact.corrections.set(corrections.subarray(a * most, b * most), at * most);
  } else if (to.kind === 'listed') {
    to.ids.set(from.ids.subarray(a * width, b * width), at * width);
    to.probabilities.set(from.probabilities.subarray(a * width, b * width), at * width);
  }
}
