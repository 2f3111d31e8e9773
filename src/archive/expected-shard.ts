import { BLOCK_BYTES, sha256 } from '../container/checksum.js';
import type { ByteFile, Tail } from '../store/byte-store.js';
import {
  blocksPerRow,
  columnBytes,
  OFFSETS,
  type OpenShard,
  planShard,
  type Shape,
} from './shard.js';
import type { ShardRecord } from './shards.js';

/**
 * Shards whose header need not be read: what an archive records of a shard decides its header, and the hash of header and
 * checksums proves it. A server is asked once, for the checksums at the end of the file.
 */
export interface ExpectedShard {
  readonly tail: Tail;
  /** From what came with the opening; undefined unless it proves the header, which is then to be read. */
  open(file: ByteFile): Promise<OpenShard | undefined>;
}

/** Offsets of blocks come with the opening if they are no more, with all that is verified with them. */
const MOST_SOON_BYTES = 2 ** 22;
/** Header, padding and checksums depend on the bytes of the codes: each step adds what was lacking. */
const MOST_STEPS = 8;

/** Undefined if no shard of these labels has this size. */
export function expectShard(
  shape: Shape,
  archiveId: string,
  record: ShardRecord,
): ExpectedShard | undefined {
  const plan = (codesBytes: number) => planShard(shape, archiveId, record, codesBytes);
  const sized = codesOfSize(record.bytes, plan);
  if (sized === undefined) return undefined;
  const { tableOffset, dataOffset, columns } = sized.plan.index;
  const offsets = columns.get(OFFSETS);
  const [from, to] = record.samples;
  const rows = record.epochs[1] - record.epochs[0];
  const rowBytes = columnBytes(shape, shape.columns[0], to - from);
  const fixedBytes = rowBytes === undefined ? undefined : rows * rowBytes;
  // The last offset says where the codes end; padding of the next tensor hides it.
  const begin =
    offsets === undefined ? tableOffset : offsets + 8 * rows * blocksPerRow(shape, record);
  const verified = (at: number) => at - ((at - dataOffset) % BLOCK_BYTES);
  const soon = verified(offsets ?? begin);
  const near = offsets !== undefined && record.bytes - soon <= MOST_SOON_BYTES;
  return {
    tail: { begin, soon: near ? soon : begin, end: record.bytes },
    async open(file) {
      const tail = new Uint8Array(record.bytes - begin);
      if (file.size !== record.bytes || !file.holds?.(begin, tail.length)) return undefined;
      await file.read(begin, tail);
      const codesBytes = fixedBytes ?? Number(new DataView(tail.buffer).getBigUint64(0, true));
      if (codesBytes > record.bytes) return undefined;
      const isPlanned = fixedBytes !== undefined || codesBytes === sized.codesBytes;
      const { header, index } = isPlanned ? sized.plan : plan(codesBytes);
      if (index.fileBytes !== record.bytes || index.tableOffset !== tableOffset) return undefined;
      const table = tail.subarray(tableOffset - begin);
      const indexSha256 = sha256(header, table);
      if (indexSha256 !== record.indexSha256) return undefined;
      return { file, index, header, table, codesBytes, indexSha256 };
    },
  };
}

/** The plan of a shard of so many bytes, which has its codes but for padding. */
function codesOfSize(bytes: number, plan: (codesBytes: number) => ReturnType<typeof planShard>) {
  let codesBytes = 0;
  for (let step = 0; step < MOST_STEPS && codesBytes >= 0; step++) {
    const found = plan(codesBytes);
    const lacking = bytes - found.index.fileBytes;
    if (lacking === 0) return { codesBytes, plan: found };
    codesBytes += lacking;
  }
  return undefined;
}
