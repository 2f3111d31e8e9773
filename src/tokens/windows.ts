import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { ListedTargets } from './targets.js';
import type { TokenArchive, TokenLabels } from './token-archive.js';

/** Texts one after the other, cut to one length, with their labels. */
export interface TokenWindow {
  /** [length], the student's input; 0 behind the end of the last text. */
  readonly tokens: Int32Array;
  /** Of the same positions; those without a label do not count. */
  readonly targets: ListedTargets;
  /** [length]: sequence that each position belongs to, for attention that keeps texts apart; -1 behind the last one. */
  readonly sequences: Int32Array;
}

export interface WindowOptions {
  /** Positions of a window. */
  readonly length: number;
  /** Sequences in the order in which they are read, e.g. shuffled for an epoch. Default: all, as they are stored. */
  readonly sequences?: Iterable<number>;
}

/**
 * Packs the texts of an archive into windows without padding between them; the last window is filled up.
 *
 * @throws `UNSUPPORTED` for a sequence whose text is not stored.
 */
export async function* tokenWindows(
  archive: TokenArchive,
  { length, sequences }: WindowOptions,
): AsyncGenerator<TokenWindow, void, undefined> {
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
      window ??= new Filling(archive, length, labels);
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
  readonly result: TokenWindow;
  readonly #counts: Uint8Array;
  #filled = 0;

  constructor({ vocabulary, width }: TokenArchive, length: number, { tail }: TokenLabels) {
    this.#counts = new Uint8Array(length);
    this.result = {
      tokens: new Int32Array(length),
      targets: {
        ...{ kind: 'listed', vocabulary, positions: length, width, tail },
        ids: new Int32Array(length * width),
        probabilities: new Float32Array(length * width),
        next: new Int32Array(length).fill(-1),
        counts: this.#counts,
      },
      sequences: new Int32Array(length).fill(-1),
    };
  }

  get left(): number {
    return this.result.tokens.length - this.#filled;
  }

  /** Adds a text from position `from` on, as far as there is room; returns how much of it. */
  add(sequence: number, tokens: Int32Array, labels: TokenLabels, from: number): number {
    const count = Math.min(this.left, tokens.length - from);
    this.result.tokens.set(tokens.subarray(from, from + count), this.#filled);
    this.result.sequences.fill(sequence, this.#filled, this.#filled + count);
    const first = Math.max(from, labels.first);
    const end = Math.min(from + count, labels.first + labels.positions);
    if (first < end) this.#addLabels(labels, first, end, this.#filled + first - from);
    this.#filled += count;
    return count;
  }

  #addLabels(labels: TokenLabels, first: number, end: number, at: number): void {
    const { targets } = this.result;
    const { width } = targets;
    const [a, b] = [first - labels.first, end - labels.first];
    targets.ids.set(labels.ids.subarray(a * width, b * width), at * width);
    targets.probabilities.set(labels.probabilities.subarray(a * width, b * width), at * width);
    targets.next.set(labels.next.subarray(a, b), at);
    this.#counts.set(labels.counts.subarray(a, b), at);
  }
}
