import { SoftpackError } from '../errors.js';

/** Arrays of one batch in shared memory. */
export interface Slot {
  readonly xs: Float32Array;
  readonly ys: Float32Array;
}

/** A fixed number of slots, allocated when first needed and reused once returned. */
export class SlotRing {
  readonly #lengths: { readonly xs: number; readonly ys: number };
  readonly #free: Slot[] = [];
  #unmade: number;

  constructor(count: number, lengths: { readonly xs: number; readonly ys: number }) {
    this.#unmade = count;
    this.#lengths = lengths;
  }

  get available(): boolean {
    return this.#free.length > 0 || this.#unmade > 0;
  }

  take(): Slot {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#unmade === 0) throw noSlot();
    this.#unmade--;
    return { xs: sharedFloats(this.#lengths.xs), ys: sharedFloats(this.#lengths.ys) };
  }

  give(slot: Slot): void {
    this.#free.push(slot);
  }
}

export function noSlot(): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'no slot is free', {
    field: 'buffers',
    expected: 'release() of each batch before more than `prefetch` are asked for',
  });
}

function sharedFloats(length: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(4 * length));
}
