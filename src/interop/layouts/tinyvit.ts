import { join } from 'node:path';
import { viewOf } from '../../container/torch/zip.js';
import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import { invalidFile, type SoftpackError, throwIfAborted } from '../../errors.js';
import { openLocalFile, readLocalFile } from '../../store/local.js';
import type { EpochRow } from '../epoch-row.js';
import { namesIn, numbered } from './files.js';
import type { LabelSet } from './label-set.js';
import { fillProbabilities } from './label-values.js';

export interface TinyVitOptions {
  /** Paths of the images below their folder, by sample id. */
  readonly images: readonly string[];
  readonly classes: number;
}

const EPOCH_FOLDER = /^logits_top(\d{1,5})_epoch(\d{1,6})$/;
/** 1.28 million keys of 40 bytes are 50 MB. */
const MAX_KEYS = 512 * 2 ** 20;
/** Records read at a time, bytes. */
const CHUNK = 2 ** 20;

/**
 * TinyViT: for each epoch and rank a list of image paths and a file of records, little-endian: the seed of the view
 * (int32), k class ids (int16), k probabilities (float16).
 */
export async function tinyVitLabels(folder: string, options: TinyVitOptions): Promise<LabelSet> {
  const { images, classes } = options;
  const { k, names } = topOf(folder, await namesIn(folder), classes);
  const ids = new Map(images.map((name, id) => [name, id]));
  const notes = ['views are drawn by timm from the seeds, which are kept; they cannot be replayed'];
  return {
    classes,
    epochs: names.length,
    kind: { store: 'probabilities', tau: 1 },
    kinds: { seeds: true },
    origin: { k },
    notes,
    async read(first, rows, signal) {
      for (const [i, row] of rows.entries()) {
        const path = join(folder, names[first + i]);
        const ranks = numbered(path, await namesIn(path), /^rank(\d{1,5})-keys\.txt$/);
        for (const name of ranks) {
          const rank = join(path, name.replace('-keys.txt', ''));
          await readRank(rank, { k, classes, ids, row, signal });
        }
      }
    },
  };
}

function topOf(folder: string, found: readonly string[], classes: number) {
  const tops = new Set(found.flatMap((name) => EPOCH_FOLDER.exec(name)?.[1] ?? []));
  const [top] = tops;
  const k = Number(top);
  if (tops.size !== 1 || k < 1 || k > classes) {
    throw invalidFile(folder, 'logits_top{K}_epoch{e}', 'not one K for all epochs', {
      expected: `one K from 1 to ${classes}, the number of classes`,
      found: [...tops].join(', ') || 'none',
    });
  }
  return { k, names: numbered(folder, found, new RegExp(`^logits_top${top}_epoch(\\d{1,6})$`)) };
}

interface RankOptions {
  readonly k: number;
  readonly classes: number;
  readonly ids: ReadonlyMap<string, number>;
  readonly row: EpochRow;
  readonly signal?: AbortSignal;
}

async function readRank(
  rank: string,
  { k, classes, ids, row, signal }: RankOptions,
): Promise<void> {
  const keysFile = `${rank}-keys.txt`;
  const text = Buffer.from(await readLocalFile(keysFile, MAX_KEYS)).toString('utf8');
  const keys = text.split('\n');
  if (keys.at(-1) === '') keys.pop();
  const recordBytes = 4 + 4 * k;
  const file = await openLocalFile(`${rank}-values.bin`);
  try {
    if (file.size !== keys.length * recordBytes) {
      throw invalidFile(file.name, 'size', 'records do not fit the keys', {
        expected: `${keys.length} records of ${recordBytes} bytes`,
        found: `${file.size} bytes`,
      });
    }
    const each = Math.max(1, Math.floor(CHUNK / recordBytes));
    for (let start = 0; start < keys.length; start += each) {
      throwIfAborted(signal);
      const chunk = new Uint8Array(Math.min(each, keys.length - start) * recordBytes);
      await file.read(start * recordBytes, chunk);
      for (let i = 0; i < chunk.length / recordBytes; i++) {
        const key = keys[start + i];
        const sample = ids.get(key);
        if (sample === undefined) throw noImage(keysFile, start + i, key);
        const where = { file: file.name, field: `record ${start + i}` };
        const record = chunk.subarray(i * recordBytes, (i + 1) * recordBytes);
        putRecord(row, sample, record, { k, classes, where });
      }
    }
  } finally {
    await file.close();
  }
}

function noImage(file: string, line: number, key: string): SoftpackError {
  return invalidFile(file, `line ${line + 1}`, 'no such image', {
    expected: 'the path of an image below the folder of images',
    found: key,
  });
}

interface RecordOptions {
  readonly k: number;
  readonly classes: number;
  readonly where: { readonly file: string; readonly field: string };
}

/** A distributed sampler repeats a few images to fill its last batches; the later record counts, as in TinyViT. */
function putRecord(
  row: EpochRow,
  sample: number,
  record: Uint8Array,
  { k, classes, where }: RecordOptions,
): void {
  const view = viewOf(record);
  const ids = Array.from({ length: k }, (_, i) => view.getInt16(4 + 2 * i, true));
  const bits = Uint16Array.from(ids, (_, i) => view.getUint16(4 + 2 * k + 2 * i, true));
  const values = new Float32Array(k);
  float16ToFloat32(bits, values);
  const all = new Float32Array(classes);
  fillProbabilities({ classes: ids, values }, 'uniform', all, where);
  const halves = new Uint16Array(classes);
  float32ToFloat16(all, halves);
  row.put(sample, halves, { seed: view.getUint32(0, true) });
}
