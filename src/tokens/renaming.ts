import { invalidTensor, requireTensor } from '../codecs/tensors.js';
import type { Tensor } from '../core/codec-parts.js';

/** Names of ids by how often labels list them, 0 for the most frequent: small names take few bits in a set. */
export class Renaming {
  /** [vocabulary], the id of each name. */
  readonly ids: Uint32Array;
  /** [vocabulary], the name of each id. */
  readonly names: Uint32Array;

  /** @param ids a permutation, not checked. */
  constructor(ids: Uint32Array) {
    this.ids = ids;
    this.names = new Uint32Array(ids.length);
    for (const [name, id] of ids.entries()) this.names[id] = name;
  }

  /** @param counts [vocabulary]; equal ones keep the order of their ids. */
  static byFrequency(counts: Float64Array): Renaming {
    const ids = Uint32Array.from(counts, (_, id) => id);
    return new Renaming(ids.sort((a, b) => counts[b] - counts[a] || a - b));
  }
}

function isPermutation(ids: Uint32Array): boolean {
  const seen = new Uint8Array(ids.length);
  return ids.every((id) => id < ids.length && seen[id]++ === 0);
}

/** The tensor `ids`, [vocabulary]. @param short as U16, for vocabularies that it holds. */
export function idsTensor({ ids }: Renaming, short: boolean): Tensor {
  const own = short ? Uint16Array.from(ids) : ids.slice();
  const dtype = short ? 'U16' : 'U32';
  return { dtype, shape: [ids.length], data: new Uint8Array(own.buffer) };
}

/** `INVALID_FILE` for a tensor that is no renaming. */
export function readIds(
  tensors: ReadonlyMap<string, Tensor>,
  vocabulary: number,
  short: boolean,
): Renaming {
  const { buffer } = requireTensor(tensors, 'ids', short ? 'U16' : 'U32', [vocabulary]).slice();
  const ids = short ? Uint32Array.from(new Uint16Array(buffer)) : new Uint32Array(buffer);
  if (isPermutation(ids)) return new Renaming(ids);
  throw invalidTensor('ids', 'not a renaming', 'each id once', 'others');
}
