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

export function isPermutation(ids: Uint32Array): boolean {
  const seen = new Uint8Array(ids.length);
  return ids.every((id) => id < ids.length && seen[id]++ === 0);
}
