import { basename, join } from 'node:path';
import { isJsonObject, parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import { readLocalFile } from '../../store/local.js';
import type { EpochRow } from '../epoch-row.js';
import { openTorchFile } from '../torch/open.js';
import { describeValue, PickleDict, type PickleValue } from '../torch/values.js';
import { type BatchOptions, type LabelBatch, readBatch } from './batch.js';
import { namesIn, numbered, paths, requireIds } from './files.js';

/** One file: a batch, or (HALD) a list of batches. */
export interface BatchFile {
  readonly path: string;
  readonly list: boolean;
}

/** Files of an epoch, in order, and the images of its labels where they are stored. */
export interface EpochFiles {
  readonly files: readonly BatchFile[];
  readonly ids?: Uint32Array;
}

export interface BatchedFiles {
  readonly epochs: readonly EpochFiles[];
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
 * generator writes one too many when the number of batches divides evenly.
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
  return { epochs, notes };
}

/**
 * LPQLD: `batch_{n}.tar` over all epochs, and a JSON of the images of each batch. Batches are put together to epochs
 * where they hold every image once.
 */
export async function lpqldFiles(folder: string, samples: number): Promise<BatchedFiles> {
  const names = numbered(folder, await namesIn(folder), BATCH_FILE);
  const index = join(folder, 'sampler_indices_batch.json');
  const lists = listsOf(index, await readIndexJson(index), samples);
  requireCovered(index, lists.length, names.length, 'batch files');
  const epochs: EpochFiles[] = [];
  let files: BatchFile[] = [];
  let ids: number[] = [];
  const epoch = new Set<number>();
  for (const [n, list] of lists.entries()) {
    for (const id of list) {
      if (epoch.has(id) || epoch.size === samples) throw foreign(index, n, samples, epoch.size);
      epoch.add(id);
    }
    files.push({ path: join(folder, names[n]), list: false });
    ids = [...ids, ...list];
    if (epoch.size < samples) continue;
    epochs.push({ files, ids: Uint32Array.from(ids) });
    [files, ids] = [[], []];
    epoch.clear();
  }
  if (epoch.size > 0) throw foreign(index, lists.length - 1, samples, epoch.size);
  const extra = names.length - lists.length;
  const notes = extra === 0 ? [] : [`${extra} batches without image ids were left out`];
  return { epochs, notes };
}

function foreign(index: string, batch: number, samples: number, found: number): SoftpackError {
  return new SoftpackError(
    'UNSUPPORTED',
    'batches that do not make up whole epochs (pruned, or without the last batch of an epoch)',
    {
      field: `${index}: batch ${batch}`,
      expected: `every one of ${samples} images once an epoch`,
      found: `an epoch of ${found} images`,
    },
  );
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
