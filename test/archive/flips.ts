import { createArchive } from '#src/archive/create.js';
import { readManifestBytes, shardsOf, tableFiles } from '#src/archive/files.js';
import { type Manifest, parseManifest } from '#src/archive/manifest.js';
import { sampleShards } from '#src/archive/sample-blocks.js';
import type { Shards } from '#src/archive/shards.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import {
  verifyArchiveFiles,
  verifySampleFile,
  verifyShardOf,
} from '#src/archive/verify-archive.js';
import { verifyWholeFile } from '#src/container/verify-file.js';
import { joinBlocks } from '#src/core/blocks.js';
import { SoftpackError } from '#src/errors.js';
import type { ByteStore } from '#src/store/byte-store.js';
import { localStore } from '#src/store/local.js';
import { readTree, SMALL, sideBlocks } from './fixture.js';

/** Small archives of every layout, in memory, and what verification says of each flipped bit of theirs. */

const epochs = 3;
const base: ArchiveSpec = { ...SMALL, epochs, grid: { epochs, samples: 24 }, columns: [] };
const samplesOf = (rows: number) => ({
  ...base.codec,
  sampleTensors: new Map([
    ['bases', { dtype: 'U8' as const, shape: [rows, 2], data: new Uint8Array(2 * rows).fill(7) }],
  ]),
});

export const LAYOUTS: Readonly<Record<string, ArchiveSpec>> = {
  fixed: { ...base, codec: samplesOf(24), samples: 24, grid: { epochs: 2, samples: 16 } },
  blocks: {
    ...base,
    codec: samplesOf(24),
    samples: 24,
    layout: { kind: 'blocks', labelsPerBlock: 8 },
  },
  'side data in blocks': {
    ...base,
    codec: {
      ...base.codec,
      sampleTensors: new Map(),
      sampleBlocks: sideBlocks(24, 3, (i) => new Uint8Array(5 + (i % 4)).fill(i)),
    },
    samples: 24,
    samplesPerFile: 12,
  },
  'served epochs': { ...base, codec: samplesOf(24), samples: 24, epochs: 9, storedEpochs: epochs },
  'pruned with columns': {
    ...base,
    codec: { ...base.codec, sampleTensors: new Map() },
    samples: 8,
    grid: { epochs, samples: 8 },
    pruning: { samples: 32, epochs: 2, seed: 3 },
    columns: [{ name: 'order', dtype: 'U8', rowBytes: 5 }],
  },
  views: {
    ...base,
    codec: samplesOf(24),
    samples: 24,
    augmentation: { generator: 'recorded', size: [8, 8] },
    columns: [
      { name: 'boxes', dtype: 'F32', rowBytes: 24 * 16 },
      { name: 'partners', dtype: 'U32', rowBytes: 24 * 4 },
    ],
  },
};

export async function writeLayout(directory: string, spec: ArchiveSpec): Promise<void> {
  await using writer = await createArchive(directory, spec);
  const { samples, layout, columns = [] } = spec;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const blocks = Array.from({ length: Math.ceil(samples / 8) }, (_, i) =>
      new Uint8Array(3 + ((epoch + i) % 4)).fill(16 * epoch + i),
    );
    const codes =
      layout.kind === 'blocks'
        ? joinBlocks(blocks)
        : new Uint8Array((samples * layout.bitsPerLabel) / 8).fill(85 + epoch);
    const others = columns.map(({ name, rowBytes }) => [
      name,
      new Uint8Array(rowBytes).fill(epoch),
    ]);
    await writer.writeRow(epoch, { codes, ...Object.fromEntries(others) });
  }
  await writer.finish();
}

/** An archive's files in memory: their bits can be flipped in place. */
export class FlippedArchive {
  readonly #files: ReadonlyMap<string, Buffer>;
  readonly #manifest: Manifest;
  readonly #shards: Shards;
  readonly #sampleFiles: Shards | undefined;
  readonly store: ByteStore;

  private constructor(
    files: ReadonlyMap<string, Buffer>,
    manifest: Manifest,
    shards: Shards,
    sampleFiles: Shards | undefined,
  ) {
    this.#files = files;
    this.#manifest = manifest;
    this.#shards = shards;
    this.#sampleFiles = sampleFiles;
    this.store = memoryStore(files);
  }

  static async read(directory: string): Promise<FlippedArchive> {
    const tree = await readTree(directory);
    const files = new Map([...tree].map(([name, text]) => [name, Buffer.from(text, 'latin1')]));
    const manifest = parseManifest('m', await readManifestBytes(localStore(directory)));
    const store = localStore(directory);
    const { sampleBlocks } = manifest;
    return new FlippedArchive(
      files,
      manifest,
      await shardsOf(store, manifest, true),
      sampleBlocks && (await sampleShards(store, sampleBlocks, true)),
    );
  }

  /** Every file and its bits. */
  get bits(): readonly (readonly [string, number])[] {
    return [...this.#files].map(([name, bytes]) => [name, 8 * bytes.length]);
  }

  /** Verifies the file that a bit of is flipped, alone. */
  async damageOf(file: string, bit: number) {
    return this.flipped(file, bit, async () => {
      if (file === 'manifest.json') return this.#manifestDamage();
      const manifest = this.#manifest;
      const listed = (shards?: Shards) =>
        Array.from({ length: shards?.count ?? 0 }, (_, i) => shards?.at(i)).find(
          (one) => one?.file === file,
        );
      const shard = listed(this.#shards);
      if (shard !== undefined) return verifyShardOf(this.store, manifest, shard, {});
      const own = listed(this.#sampleFiles);
      if (own !== undefined) return verifySampleFile(this.store, manifest, own, {});
      const record = tableFiles(manifest).find((one) => one.file === file);
      if (record === undefined) throw new Error(`no hash of ${file}`);
      const found = await verifyWholeFile(this.store, record);
      return found.map((one) => ({ ...one, file }));
    });
  }

  async flipped<T>(file: string, bit: number, look: () => Promise<T>): Promise<T> {
    const bytes = this.#files.get(file);
    if (bytes === undefined) throw new Error(`no file ${file}`);
    const flip = () => {
      bytes[bit >> 3] ^= 1 << (bit & 7);
    };
    flip();
    try {
      return await look();
    } finally {
      flip();
    }
  }

  /** No other file is there, so that nothing else is read. */
  async #manifestDamage() {
    const none = memoryStore(new Map());
    const bytes = this.#files.get('manifest.json') ?? Buffer.alloc(0);
    const { damage } = await verifyArchiveFiles(none, Uint8Array.from(bytes));
    return damage.filter(({ kind }) => kind !== 'missing');
  }
}

function memoryStore(files: ReadonlyMap<string, Buffer>): ByteStore {
  return {
    name: 'memory',
    async open(key) {
      const bytes = files.get(key);
      if (bytes === undefined) throw new SoftpackError('NOT_FOUND', 'no such file', { field: key });
      return {
        ...{ name: `memory/${key}`, size: bytes.length },
        read: async (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
        close: async () => undefined,
      };
    },
  };
}
