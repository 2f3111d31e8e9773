// Simulates a job of 15 billion labels on 1,000 workers, by size of its shards, handed out by a queue or by fixed shares:
//   node bench/distributed/simulate.mjs [LABELS] [WORKERS]
//
// Workers make 1,200, 2,500 or 5,000 labels per second; each dies once a day, is back after a minute, and loses the shard
// that it was at, which a queue hands out again a minute later. A shard costs .1 s besides its labels. Prints the time
// against that of the same workers if none died and nothing was left over: medians and spread of 3 seeds.
const [labels = 15e9, workers = 1_000] = process.argv.slice(2).map(Number);
const SPEEDS = [1_200, 2_500, 5_000];
const DAY = 86_400;
const BACK = 60;
const OVERHEAD = 0.1;

/** xorshift32, uniform in [0, 1). */
function uniform(seed) {
  let state = (seed * 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

/** A binary heap of [time, worker]. */
class Heap {
  #all = [];
  get size() {
    return this.#all.length;
  }
  push(item) {
    const all = this.#all;
    let i = all.push(item) - 1;
    while (i > 0 && all[(i - 1) >> 1][0] > item[0]) {
      all[i] = all[(i - 1) >> 1];
      i = (i - 1) >> 1;
    }
    all[i] = item;
  }
  pop() {
    const all = this.#all;
    const [first] = all;
    const last = all.pop();
    if (all.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= all.length) break;
      if (child + 1 < all.length && all[child + 1][0] < all[child][0]) child++;
      if (all[child][0] >= last[0]) break;
      all[i] = all[child];
      i = child;
    }
    all[i] = last;
    return first;
  }
}

/** Seconds until the last shard is there. */
function run(shardLabels, byQueue, seed) {
  const random = uniform(seed);
  const shards = Math.ceil(labels / shardLabels);
  const dies = () => -Math.log(1 - random()) * DAY;
  const fleet = Array.from({ length: workers }, (_, i) => ({
    speed: SPEEDS[i % SPEEDS.length],
    death: dies(),
    left: Math.ceil((shards - i) / workers),
  }));
  const free = new Heap();
  for (let i = 0; i < workers; i++) free.push([0, i]);
  let waiting = shards;
  const again = new Heap();
  let end = 0;
  while (free.size > 0) {
    const [now, i] = free.pop();
    const worker = fleet[i];
    let start = now;
    if (byQueue) {
      if (waiting > 0) waiting--;
      else if (again.size > 0) start = Math.max(now, again.pop()[0]);
      else continue;
    } else if (worker.left === 0) continue;
    const done = start + OVERHEAD + shardLabels / worker.speed;
    if (done < worker.death) {
      end = Math.max(end, done);
      if (!byQueue) worker.left--;
      free.push([done, i]);
      continue;
    }
    const death = Math.max(worker.death, start);
    worker.death = death + BACK + dies();
    free.push([death + BACK, i]);
    if (byQueue) again.push([death + BACK, 0]);
  }
  return end;
}

const speed = Array.from({ length: workers }, (_, i) => SPEEDS[i % SPEEDS.length]).reduce(
  (sum, one) => sum + one,
);
const ideal = labels / speed;
console.log(`${labels} labels, ${workers} workers: ${(ideal / 60).toFixed(1)} min at best`);
for (const bits of [16, 18, 20, 22, 24]) {
  const cells = [true, false].map((byQueue) => {
    const times = [1, 2, 3].map((seed) => run(2 ** bits, byQueue, seed) / ideal);
    const [low, median, high] = times.sort((a, b) => a - b).map((time) => time.toFixed(2));
    return `x${median} (${low} to ${high})`;
  });
  const shards = Math.ceil(labels / 2 ** bits);
  console.log(`2^${bits} labels, ${shards} shards: queue ${cells[0]}, fixed shares ${cells[1]}`);
}
