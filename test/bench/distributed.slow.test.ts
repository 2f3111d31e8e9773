import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';

/** Short forms of the measurements of many machines: times decide nothing here, counts do. */

const directory = await temporaryDirectory();

async function bench(name: string, ...args: readonly string[]) {
  const script = fileURLToPath(new URL(`../../bench/distributed/${name}.mjs`, import.meta.url));
  const json = directory.path(`${name}.json`);
  await promisify(execFile)(process.execPath, [script, ...args, '--json', json]);
  const result = JSON.parse(await readFile(json, 'utf8'));
  expect(result.machine).toMatchObject({ processor: expect.any(String), load: expect.any(Number) });
  return result;
}

it('counts the requests of a row on a server, of its opening, and of many processes', async () => {
  const short = ['--samples', '400000', '--rounds', '1', '--latency', '5', '--processes', '3'];
  const { rows, opening, together } = await bench('remote-row', ...short);
  const requests = Object.fromEntries(
    rows.map(({ name, requests }: { name: string; requests: number }) => [name, requests]),
  );
  // 18 MB in ranges of 8 MiB are 3.
  expect(requests).toMatchObject({
    'fetch, 8 MiB ranges one by one': 3,
    'curl, the file at once': 1,
  });
  expect(requests['softpack, http']).toBeLessThanOrEqual(4);
  expect(requests['softpack, S3']).toBeLessThanOrEqual(4);
  expect(opening.shard).toBeLessThanOrEqual(1);
  const [cached, plain] = together;
  expect(cached.ratio.high).toBeLessThanOrEqual(1.05);
  expect(plain.ratio.low).toBeGreaterThan(3);
});

it('counts what a shard asks of its store', async () => {
  const { rows, calls } = await bench('overhead', '--labels', '16384', '--rounds', '1');
  expect(calls).toEqual({ run: 9, shard: 4 });
  expect(rows).toHaveLength(3);
  // 9 calls that each take 30 ms longer.
  expect(rows[2].wall.median).toBeGreaterThan(9 * 29);
});

it('plans, trains and labels a hundredth of ImageNet', async () => {
  const short = ['--samples', '12812', '--classes', '100', '--epochs', '1', '--grid', '1x512'];
  const { rows, logits } = await bench('imagenet', ...short, '--steps', '2', '--rounds', '1');
  expect(rows.map(({ name }: { name: string }) => name)).toEqual([
    ...['plan', 'codec', 'first rectangle'],
  ]);
  for (const { mebibytes } of rows) expect(mebibytes).toBeLessThan(1024);
  expect(logits).toBe(0);
}, 300_000);
