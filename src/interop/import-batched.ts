import { invalidFile, SoftpackError } from '../errors.js';
import type { ImageSource } from '../images/source.js';
import { DEFAULT_SIZE, DEFAULT_TAU } from './defaults.js';
import type { EpochRow } from './epoch-row.js';
import type { BatchOptions, LabelBatch } from './layouts/batch.js';
import {
  type BatchedFiles,
  batchesIn,
  type EpochFiles,
  haldFiles,
  lpldFiles,
  lpqldFiles,
  putBatch,
  putRow,
  sre2lFiles,
} from './layouts/batched.js';
import type { LabelKind, LabelSet, Layout } from './layouts/label-set.js';
import { LOWEST_HALF } from './layouts/label-values.js';
import {
  type Agreement,
  agreementOf,
  proveOrder,
  TopClassCounter,
  type TopClasses,
} from './order-proof.js';
import { type DrawsPerEpoch, torchOrders } from './random-sampler.js';

/** The part of the options of an import that files of batches need. */
export interface BatchedOptions {
  readonly source: string;
  readonly size?: readonly [number, number];
  readonly classes?: number;
  readonly tau?: number;
  readonly values?: 'logits' | 'probabilities';
  readonly orderSeed?: number;
  readonly views?: boolean;
  readonly signal?: AbortSignal;
}

type BatchedLayout = Exclude<Layout, 'fkd' | 'tinyvit'>;

export interface OpenedBatches {
  readonly set: LabelSet;
  readonly drawsPerEpoch?: DrawsPerEpoch;
  readonly agreement?: Agreement;
}

/** Seed of the sampler in the scripts of SRe2L and CDA. */
const ORDER_SEED = 42;
/** Epochs whose labels are compared with the images' folders before anything is written. */
const LOOKED_EPOCHS = 2;

/** Opens SRe2L, CDA, LPLD, LPQLD or HALD, and looks at the labels of one epoch. */
export async function openBatched(
  layout: BatchedLayout,
  images: ImageSource,
  options: BatchedOptions,
): Promise<OpenedBatches> {
  const { source, size = DEFAULT_SIZE, views = true, orderSeed = ORDER_SEED, signal } = options;
  const files = await filesOf(layout, source, images.count);
  const { epochs, notes, batch } = files;
  const classes = options.classes ?? (layout === 'lpqld' ? images.classNames?.length : undefined);
  const reading: BatchOptions = {
    ...{ size, views, classes },
    rest: options.values === 'probabilities' ? 0 : LOWEST_HALF,
    shares: layout === 'lpqld' || layout === 'hald',
  };
  const facts = new BatchFacts(layout, options);
  const tops: TopClasses[] = [];
  for (const epoch of epochs.slice(0, LOOKED_EPOCHS)) {
    const counter = new TopClassCounter();
    for await (const labels of batchesIn(epoch, reading, signal)) {
      facts.add(labels, labels.path);
      counter.add(labels, size);
    }
    const found = counter.result().classes.length;
    requireCount(source, tops.length, found, batch ?? images.count);
    tops.push(counter.result());
  }
  const { targets } = images;
  const proof =
    layout === 'sre2l'
      ? proveOrder(source, tops, { seed: orderSeed, targets: requireTargets(images) })
      : undefined;
  const agreement = proof?.agreement ?? (targets && agreementByIds(tops, epochs, targets));
  const order =
    proof === undefined
      ? {}
      : { order: { generator: 'mt19937', seed: orderSeed, drawsPerEpoch: proof.drawsPerEpoch } };
  const set: LabelSet = {
    classes: facts.classes,
    epochs: epochs.length,
    ...(batch === undefined ? {} : { batch }),
    kind: facts.kind,
    kinds: {
      ...(views ? { views: { crop: 'shares', flip: true, mix: facts.mix } } : {}),
      ...(batch === undefined ? {} : { listed: true }),
    },
    origin: { batch: facts.batch, ...order },
    notes: facts.rounded ? [...notes, 'labels were rounded to float16'] : notes,
    read: reader(
      files,
      reading,
      facts,
      proof && impliedIds(images.count, { seed: orderSeed, ...proof }),
    ),
  };
  return {
    set,
    ...(proof === undefined ? {} : { drawsPerEpoch: proof.drawsPerEpoch }),
    ...(agreement === undefined ? {} : { agreement }),
  };
}

function agreementByIds(
  tops: readonly TopClasses[],
  epochs: readonly EpochFiles[],
  targets: Uint32Array,
): Agreement | undefined {
  const known = tops.flatMap((top, e) => {
    const { ids } = epochs[e];
    return ids === undefined ? [] : [{ ...top, ids }];
  });
  return agreementOf(known, targets);
}

function filesOf(layout: BatchedLayout, source: string, samples: number): Promise<BatchedFiles> {
  switch (layout) {
    case 'sre2l':
      return sre2lFiles(source);
    case 'lpld':
      return lpldFiles(source, samples);
    case 'lpqld':
      return lpqldFiles(source, samples);
    case 'hald':
      return haldFiles(source, samples);
  }
}

/** Image ids of an epoch's labels where files do not store them: the sampler's order. */
function impliedIds(
  samples: number,
  { seed, drawsPerEpoch }: { readonly seed: number; readonly drawsPerEpoch: DrawsPerEpoch },
): (epoch: number) => Uint32Array {
  let orders = torchOrders(samples, seed, drawsPerEpoch);
  let next = 0;
  return (epoch) => {
    if (epoch < next) {
      orders = torchOrders(samples, seed, drawsPerEpoch);
      next = 0;
    }
    for (; next < epoch; next++) orders.next();
    next += 1;
    return orders.next().value;
  };
}

function reader(
  { epochs, batch }: BatchedFiles,
  reading: BatchOptions,
  facts: BatchFacts,
  implied: ((epoch: number) => Uint32Array) | undefined,
): LabelSet['read'] {
  return async (first, rows, signal) => {
    for (const [i, row] of rows.entries()) {
      const epoch = first + i;
      const ids = epochs[epoch].ids ?? implied?.(epoch) ?? new Uint32Array();
      const listed = batch !== undefined;
      await readEpoch(epochs[epoch], ids, row, { reading, facts, epoch, listed, signal });
    }
  };
}

interface EpochOptions {
  readonly reading: BatchOptions;
  readonly facts: BatchFacts;
  readonly epoch: number;
  /** The row is a batch. */
  readonly listed: boolean;
  readonly signal?: AbortSignal;
}

async function readEpoch(
  files: EpochFiles,
  ids: Uint32Array,
  row: EpochRow,
  { reading, facts, epoch, listed, signal }: EpochOptions,
): Promise<void> {
  let at = 0;
  for await (const batch of batchesIn(files, reading, signal)) {
    facts.add(batch, batch.path);
    if (at + batch.count > ids.length)
      requireCount(batch.path, epoch, at + batch.count, ids.length);
    const own = ids.subarray(at, at + batch.count);
    if (listed) putRow(row, batch, own);
    else putBatch(row, batch, own, batch.path);
    at += batch.count;
  }
  if (at !== ids.length) requireCount(files.files[0].path, epoch, at, ids.length);
}

/** What all batches of a set have in common. */
class BatchFacts {
  readonly #layout: BatchedLayout;
  readonly #options: BatchedOptions;
  #first: (LabelBatch & { readonly path: string }) | undefined;

  constructor(layout: BatchedLayout, options: BatchedOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  get classes(): number {
    return this.#first?.classes ?? 0;
  }

  get batch(): number {
    return this.#first?.count ?? 0;
  }

  get mix(): LabelBatch['mix'] {
    return this.#first?.mix ?? 'none';
  }

  get rounded(): boolean {
    return this.#first?.rounded ?? false;
  }

  get kind(): LabelKind {
    const { values, tau = DEFAULT_TAU } = this.#options;
    if (this.#layout === 'hald') return { store: 'probabilities', tau };
    if (this.#layout === 'lpqld' && values === 'probabilities')
      return { store: 'probabilities', tau };
    return { store: 'logits' };
  }

  /** Compares a batch with the first one; labels of several kinds in one archive would be wrong without a word. */
  add(batch: LabelBatch, path: string): void {
    this.#requireKind(batch, path);
    const first = this.#first;
    if (first === undefined) {
      this.#first = { ...batch, path };
      return;
    }
    if (batch.classes !== first.classes) {
      const details = { expected: first.classes, found: batch.classes };
      throw invalidFile(path, 'logits', 'another number of classes than in other files', details);
    }
    if (batch.mix !== first.mix) {
      const details = { expected: `${first.mix}, as in ${first.path}`, found: batch.mix };
      throw invalidFile(path, 'mix_bbox', 'another way of mixing than in other files', details);
    }
  }

  /** HALD's are probabilities. LPQLD keeps either under one layout; which one cannot be told for certain. */
  #requireKind({ shares }: LabelBatch, path: string): void {
    const { values } = this.#options;
    const unsure = this.#layout === 'lpqld' && values === undefined;
    const probabilities = this.#layout === 'hald' || values === 'probabilities';
    if (unsure && shares) {
      throw new SoftpackError('INVALID_ARGUMENT', 'values look like probabilities', {
        field: 'values',
        expected: 'logits or probabilities, as the files were made; with their temperature',
        found: path,
      });
    }
    if (!probabilities || shares) return;
    const details = { expected: 'values from 0 to 1, at most 1 together', found: 'others' };
    throw invalidFile(path, 'probabilities', 'not probabilities', details);
  }
}

function requireTargets({ targets }: ImageSource): Uint32Array {
  if (targets !== undefined) return targets;
  throw new SoftpackError('UNSUPPORTED', 'order of the images cannot be proved without classes', {
    field: 'images',
    expected: 'images in one folder per class',
    found: 'images without classes',
  });
}

function requireCount(where: string, epoch: number, labels: number, images: number): void {
  if (labels === images) return;
  throw new SoftpackError('UNSUPPORTED', 'labels of an epoch are not one for each image', {
    field: `${where}: epoch ${epoch}`,
    expected: `${images} labels, the number of images`,
    found: labels,
  });
}
