import type { EpochRow, RowKinds } from '../epoch-row.js';

export const LAYOUTS = ['sre2l', 'lpld', 'lpqld', 'fkd', 'hald', 'tinyvit'] as const;
export type Layout = (typeof LAYOUTS)[number];

export const LAYOUT_NAMES: Readonly<Record<Layout, string>> = {
  sre2l: 'SRe2L or CDA',
  lpld: 'LPLD',
  lpqld: 'LPQLD',
  fkd: 'FKD or FerKD',
  hald: 'HALD',
  tinyvit: 'TinyViT',
};

/** What labels are, as an archive keeps them. */
export interface LabelKind {
  readonly store: 'logits' | 'probabilities';
  /** Temperature of probabilities; logits have none. */
  readonly tau?: number;
}

/** Labels of another project's files, epoch by epoch. */
export interface LabelSet {
  readonly classes: number;
  /** Rows: epochs, or batches. */
  readonly epochs: number;
  /** Labels of a row, where rows are batches of listed images. */
  readonly batch?: number;
  readonly kind: LabelKind;
  readonly kinds: RowKinds;
  /** What is recorded of where the labels come from, plain JSON. */
  readonly origin: object;
  /** Things a user must know: what was left out, rounded, or drawn twice. */
  readonly notes: readonly string[];
  /** Fills one row for each of `count` epochs from `first` on. */
  read(first: number, rows: readonly EpochRow[], signal?: AbortSignal): Promise<void>;
}
