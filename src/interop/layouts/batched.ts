import { basename, join } from 'node:path';
import { openTorchFile } from '../../container/torch/open.js';
import { describeValue, PickleDict, type PickleValue } from '../../container/torch/values.js';
import { isJsonObject, parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import { readLocalFile } from '../../store/local.js';
import type { EpochRow } from '../epoch-row.js';
import { type BatchOptions, type LabelBatch, readBatch } from './batch.js';
import { namesIn, numbered, paths, requireIds } from './files.js';

/** One file: a batch, or (HALD) a list of batches. */
export interface BatchFile {
  readonly path: string;
  readonly list: boolean;
}

/** Files of an epoch, or of a row that is a batch, in order, and the images of its labels where they are stored. */
export interface EpochFiles {
  readonly files: readonly BatchFile[];
  readonly ids?: Uint32Array;
}

export interface BatchedFiles {
  readonly epochs: readonly EpochFiles[];
  /** Labels of every row, where the files do not hold whole epochs: rows are batches, of one file each. */
  readonly batch?: number;
  readonly notes: readonly string[];
}

/** Index lists: 300 epochs of 50,000 ids in JSON are 90 MB. */
const MAX_JSON = 256 * 2 ** 20;

const EPOCH_FOLDER = /^epoch_(\d{1,6})$/;
const EPOCH_FILE = /^epoch_(\d{1,6})\.tar$/;
const BATCH_FILE = /^batch_(\d{1,9})\.tar$/;

/** SRe2L and CDA: `epoch_{e}/batch_{b}.tar`; which image a label belongs to is not stored. */
export async function sre2lFiles(folder: string): Promise<BatchedFiles> {
  const names = numbered(folder, await namesIn(folder), EPOCH_FOLDER);
  const epochs: EpochFiles[] = [];
  for (const name of names) epochs.push({ files: await batchesOf(join(folder, name)) });
  return { epochs, notes: [] };
}

/**
 * LPLD: the same files, and a JSON of the images of each epoch. Epochs that the JSON does not list are left out: the
 * generator writes one too many when the number of batches divides evenly. With pruning an epoch lacks its last images.
 */
export async function lpldFiles(folder: string, samples: number): Promise<BatchedFiles> {
  const names = numbered(folder, await namesIn(folder), EPOCH_FOLDER);
  const index = join(folder, 'sampler_indices_epoch.json');
  const lists = listsOf(index, await readIndexJson(index), samples);
  requireCovered(index, lists.length, names.length, 'epoch folders');
  const epochs: EpochFiles[] = [];
  for (const [e, ids] of lists.entries()) {
    epochs.push({ files: await batchesOf(join(folder, names[e])), ids });
  }
  const extra = names.length - lists.length;
  const notes = extra === 0 ? [] : [`${extra} epochs without image ids were left out`];
  if (lists.every(({ length }) => length === samples)) return { epochs, notes };
  return batchRows(
    index,
    epochs.flatMap((epoch, e) => batchesOfEpoch(index, epoch, e)),
    notes,
  );
}

/** A row for each batch of an epoch; its ids are listed together. */
function batchesOfEpoch(
  index: string,
  { files, ids = new Uint32Array() }: EpochFiles,
  epoch: number,
): readonly EpochFiles[] {
  const each = ids.length / files.length;
  if (Number.isInteger(each) && each > 0) {
    return files.map((file, b) => ({
      files: [file],
      ids: ids.subarray(b * each, (b + 1) * each),
    }));
  }
  throw unequal(`${index}: ${epoch}`, `${ids.length} images of ${files.length} batches`);
}

/** Rows that are batches: all of one size, as generators leave the last batch of an epoch out. */
function batchRows(
  index: string,
  epochs: readonly EpochFiles[],
  notes: readonly string[],
): BatchedFiles {
  const batch = epochs[0].ids?.length ?? 0;
  const other = epochs.findIndex(({ ids }) => ids?.length !== batch);
  if (other < 0 && batch > 0) return { epochs, notes, batch };
  throw unequal(`${index}: batch ${other}`, `${epochs[other]?.ids?.length ?? 0} images`);
}

function unequal(field: string, found: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'neither whole epochs nor batches of one size', {
    field,
    expected: 'every image once an epoch, or equally many images in every batch',
    found,
  });
}

/**
 * LPQLD: `batch_{n}.tar` over all epochs, and a JSON of the images of each batch. Batches are put together to epochs
 * if they hold every image once.
 */
export async function lpqldFiles(folder: string, samples: number): Promise<BatchedFiles> {
  const names = numbered(folder, await namesIn(folder), BATCH_FILE);
  const index = join(folder, 'sampler_indices_batch.json');
  const lists = listsOf(index, await readIndexJson(index), samples);
  requireCovered(index, lists.length, names.length, 'batch files');
  const batches = lists.map((ids, n) => ({
    files: [{ path: join(folder, names[n]), list: false }],
    ids,
  }));
  const extra = names.length - lists.length;
  const notes = extra === 0 ? [] : [`${extra} batches without image ids were left out`];
  const epochs = wholeEpochs(batches, samples);
  return epochs === undefined ? batchRows(index, batches, notes) : { epochs, notes };
}

type ListedFiles = EpochFiles & { readonly ids: Uint32Array };

/** Batches as epochs; `undefined` if they do not hold every image once per epoch. */
function wholeEpochs(
  batches: readonly ListedFiles[],
  samples: number,
): readonly EpochFiles[] | undefined {
  const epochs: EpochFiles[] = [];
  let part: ListedFiles[] = [];
  const seen = new Set<number>();
  for (const batch of batches) {
    part.push(batch);
    for (const id of batch.ids) {
      if (seen.has(id)) return undefined;
      seen.add(id);
    }
    if (seen.size < samples) continue;
    const ids = Uint32Array.from(part.flatMap((own) => [...own.ids]));
    epochs.push({ files: part.flatMap(({ files }) => files), ids });
    part = [];
    seen.clear();
  }
  return seen.size === 0 ? epochs : undefined;
}

/** HALD: `epoch_{e}.tar`, a list of batches, and a pickled dict of the images of each epoch. */
export async function haldFiles(folder: string, samples: number): Promise<BatchedFiles> {
  const names = numbered(folder, await namesIn(folder), EPOCH_FILE);
  const index = join(folder, 'sampler_indices_dict.pt');
  await using file = await openTorchFile(index);
  const { root } = file;
  if (!(root instanceof PickleDict)) {
    const details = { expected: 'a dict of lists', found: describeValue(root) };
    throw invalidFile(index, 'content', 'not the images of epochs', details);
  }
  const lists = listsOf(index, new Map([...root].map(([key, v]) => [String(key), v])), samples);
  requireCovered(index, lists.length, names.length, 'epoch files');
  const epochs = lists.map((ids, e) => ({
    files: [{ path: join(folder, names[e]), list: true }],
    ids,
  }));
  const extra = names.length - lists.length;
  return { epochs, notes: extra === 0 ? [] : [`${extra} epochs without image ids were left out`] };
}

async function batchesOf(folder: string): Promise<readonly BatchFile[]> {
  const names = numbered(folder, await namesIn(folder), BATCH_FILE);
  return paths(folder, names).map((path) => ({ path, list: false }));
}

async function readIndexJson(path: string): Promise<ReadonlyMap<string, unknown>> {
  const json = parseJson(path, 'content', await readLocalFile(path, MAX_JSON));
  if (isJsonObject(json)) return new Map(Object.entries(json));
  throw invalidFile(path, 'content', 'not the images of epochs', {
    expected: 'an object of lists',
  });
}

/** Lists by number, `{"0": [...], "1": [...]}`, from 0 on without a gap. */
function listsOf(
  index: string,
  lists: ReadonlyMap<string, unknown>,
  samples: number,
): readonly Uint32Array[] {
  return Array.from({ length: lists.size }, (_, i) => {
    return requireIds(index, String(i), lists.get(String(i)), samples);
  });
}

function requireCovered(index: string, lists: number, files: number, what: string): void {
  if (lists > 0 && lists <= files) return;
  throw invalidFile(index, 'content', 'images of labels that are not there', {
    expected: `1 to ${files} lists, one for each of the ${what}`,
    found: lists,
  });
}

/** The batches of an epoch, in order. */
export async function* batchesIn(
  { files }: EpochFiles,
  options: BatchOptions,
  signal?: AbortSignal,
): AsyncGenerator<LabelBatch & { readonly path: string }> {
  for (const { path, list } of files) {
    throwIfAborted(signal);
    await using file = await openTorchFile(path);
    const roots = list ? listOf(path, file.root) : [file.root];
    for (const root of roots) yield { ...(await readBatch(file, root, options)), path };
  }
}

function listOf(path: string, root: PickleValue): readonly PickleValue[] {
  if (Array.isArray(root)) return root;
  const details = { expected: 'a list of batches', found: describeValue(root) };
  throw invalidFile(path, 'content', 'not the batches of an epoch', details);
}

/** Puts the labels of a batch that is a row in the order of the file. */
export function putRow(row: EpochRow, batch: LabelBatch, ids: Uint32Array): void {
  for (let i = 0; i < batch.count; i++) {
    const halves = batch.halves.subarray(i * batch.classes, (i + 1) * batch.classes);
    row.put(i, halves, { view: batch.views?.[i], id: ids[i] });
  }
}

/** Puts a batch's labels in their samples' places; every image comes once an epoch. */
export function putBatch(row: EpochRow, batch: LabelBatch, ids: Uint32Array, path: string): void {
  for (let i = 0; i < batch.count; i++) {
    const id = ids[i];
    if (row.has(id)) {
      throw new SoftpackError('UNSUPPORTED', 'an image has two labels in one epoch', {
        field: basename(path),
        expected: 'every image once an epoch',
        found: `image ${id} again`,
      });
    }
    const view = batch.views?.[i];
    const halves = batch.halves.subarray(i * batch.classes, (i + 1) * batch.classes);
    const partner = view?.partner === undefined ? undefined : ids[view.partner];
    row.put(id, halves, view === undefined ? {} : { view: { ...view, partner } });
  }
}
