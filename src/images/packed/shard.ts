import { sha256 } from '../../container/checksum.js';
import { parseSafetensorsHeader, readSafetensorsHeader } from '../../container/safetensors.js';
import {
  indexOf,
  type OpenShard,
  planChecksummed,
  requireTensor,
  type ShardIndex,
} from '../../container/shard-file.js';
import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { ImageEncoding } from './manifest.js';

/**
 * A shard of packed images: some consecutive samples as one safetensors file.
 *
 * - `offsets` U64 [n + 1]: start of each image's bytes in `data`, and their end.
 * - `sizes` U32 [n, 2]: height and width.
 * - `targets` U32 [n]: class index, {@link NO_TARGET} if there is none.
 * - `data` U8: the images back to back.
 * - `block_xxh64` U64: checksums of all of that, as in an archive's shards.
 */

const SHARD_FORMAT = 'softpack images';

/** Stands for "no class" in `targets`. */
export const NO_TARGET = 0xffffffff;

const ENCODING_WORDS: Readonly<Record<ImageEncoding, string>> = {
  raw: 'image i is bytes offsets[i] to offsets[i+1]-1 of data: uint8 [height, width, 3], red green blue',
  jpeg: 'image i is bytes offsets[i] to offsets[i+1]-1 of data: a JPEG file of height x width pixels',
};

const FAITHFUL = 'as in the files packed';

/** Origin of a shard. */
export interface ShardOrigin {
  /** Identifies the run that wrote this shard. */
  readonly origin: string;
  /** Whether decoding gives the exact pixels of the packed files. */
  readonly faithful: boolean;
}

export function planImageShard(
  samples: readonly [number, number],
  dataBytes: number,
  encoding: ImageEncoding,
  { origin, faithful }: ShardOrigin,
): { readonly header: Uint8Array; readonly index: ShardIndex } {
  const count = samples[1] - samples[0];
  const { header, layout } = planChecksummed(
    [
      { name: tensorName('offsets', samples), dtype: 'U64', shape: [count + 1] },
      { name: tensorName('sizes', samples), dtype: 'U32', shape: [count, 2] },
      { name: tensorName('targets', samples), dtype: 'U32', shape: [count] },
      { name: tensorName('data', samples), dtype: 'U8', shape: [dataBytes] },
    ],
    tensorName('block_xxh64', samples),
    {
      format: SHARD_FORMAT,
      samples: samples.join(':'),
      encoding,
      origin,
      pixels: faithful ? FAITHFUL : 'encoded anew',
      layout: ENCODING_WORDS[encoding],
    },
  );
  return { header, index: locate('planned shard', layout, samples) };
}

/** Reads header and checksums. `INVALID_FILE` if the file is not a shard of these samples. */
export async function openImageShard(
  file: ByteFile,
  samples?: readonly [number, number],
): Promise<OpenShard & ShardOrigin & { readonly samples: readonly [number, number] }> {
  const header = await readSafetensorsHeader(file);
  const layout = parseSafetensorsHeader(file.name, header, file.size);
  requireFormat(file.name, layout.metadata);
  const text = layout.metadata.get('samples') ?? '';
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  const found = [Number(match?.[1]), Number(match?.[2])] as const;
  const expected = samples?.join(':') ?? 'begin:end';
  if (!(found[0] < found[1]) || (samples !== undefined && text !== expected)) {
    throw invalidFile(file.name, '__metadata__.samples', 'not the samples expected', {
      expected,
      found: text,
    });
  }
  const index = locate(file.name, layout, found);
  const table = new Uint8Array(new SharedArrayBuffer(8 * index.blocks));
  await file.read(index.tableOffset, table);
  const origin = layout.metadata.get('origin') ?? '';
  const faithful = layout.metadata.get('pixels') === FAITHFUL;
  const indexSha256 = sha256(header, table);
  return { file, index, header, table, indexSha256, samples: found, origin, faithful };
}

/** Metadata that proves that softpack wrote the file. */
function requireFormat(file: string, metadata: ReadonlyMap<string, string>): void {
  const [format, origin] = [metadata.get('format'), metadata.get('origin') ?? ''];
  if (format === SHARD_FORMAT && /^[0-9a-f]{64}$/.test(origin)) return;
  throw invalidFile(file, '__metadata__.format', 'not a shard of packed images', {
    expected: SHARD_FORMAT,
    found: format ?? 'nothing',
  });
}

function locate(
  file: string,
  layout: ReturnType<typeof parseSafetensorsHeader>,
  samples: readonly [number, number],
): ShardIndex {
  const count = samples[1] - samples[0];
  const data = layout.tensors.get(tensorName('data', samples));
  const columns = [
    ['offsets', 'U64', [count + 1]],
    ['sizes', 'U32', [count, 2]],
    ['targets', 'U32', [count]],
    ['data', 'U8', [data === undefined ? 0 : data.end - data.begin]],
  ] as const;
  const begins = columns.map(([name, dtype, shape]) => {
    const begin = requireTensor(file, layout, tensorName(name, samples), dtype, shape);
    return [name, layout.dataOffset + begin] as const;
  });
  return indexOf(file, layout, tensorName('block_xxh64', samples), new Map(begins));
}

function tensorName(column: string, [begin, end]: readonly [number, number]): string {
  const digits = (sample: number) => String(sample).padStart(8, '0');
  return `${column}.s${digits(begin)}-${digits(end)}`;
}
