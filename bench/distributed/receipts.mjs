// Lists the receipts of a job of many shards, in pages of 1,000 as a bucket does, and makes its table:
//   node bench/distributed/receipts.mjs [SHARDS]
//
// Prints requests, and milliseconds of processor time as medians and spread of 5.
import { createHash } from 'node:crypto';
import { encodeShardTable } from '#src/archive/shards.js';
import { keepReceipt, listReceipts } from '#src/pipeline/job/receipts.js';

const shards = Number(process.argv[2] ?? 100_000);
const hash = (text) => createHash('sha256').update(text).digest('hex');
const names = [];
const store = {
  put: async (name) => names.push(name),
  list: async () => [...names],
};
for (let shard = 0; shard < shards; shard++) {
  const sums = [262_144n, 123_456_789n, 987_654n, 456_789n, 260_000n];
  const hashes = { sha256: hash(`${shard}`), indexSha256: hash(`index ${shard}`) };
  await keepReceipt(store, { shard, bytes: 3_000_000 + shard, ...hashes, sums }, {});
}
const times = [];
let table;
for (let i = 0; i < 5; i++) {
  const start = process.cpuUsage();
  const found = await listReceipts(store, shards);
  const records = Array.from({ length: shards }, (_, shard) => found.get(shard)[0]);
  table = encodeShardTable(records);
  const { user, system } = process.cpuUsage(start);
  times.push((user + system) / 1000);
}
times.sort((a, b) => a - b);
const spread = `${times[0].toFixed(0)} to ${times[4].toFixed(0)}`;
console.log(
  `${shards} shards: ${Math.ceil(shards / 1000)} listings, table of ${table.length} bytes`,
);
console.log(
  `${times[2].toFixed(0)} ms (${spread}), ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB in all`,
);
