import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../bench/kernels/main.mjs', import.meta.url));

interface Row {
  readonly op: string;
  readonly dh: number;
  readonly dc: number;
  readonly k: number;
  readonly threads: number;
  readonly impl: string;
  readonly side: 'softpack' | 'rival' | 'reference';
  readonly out: string;
  readonly labelsPerSecond: number;
  readonly spread: readonly [number, number];
  readonly error: number;
}

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-bench-test-'));
});

afterAll(() => rm(dir, { recursive: true }));

/** Without Python: what it would measure depends on the machine. */
async function bench(...args: readonly string[]) {
  const env = { ...process.env, SOFTPACK_BENCH_DIR: dir, SOFTPACK_BENCH_PYTHON: '' };
  const child = spawn(process.execPath, [main, ...args], { env });
  let [printed, errors] = ['', ''];
  child.stdout.on('data', (chunk) => {
    printed += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  return { code, printed, errors };
}

describe('npm run bench', () => {
  test('measures softpack and rivals, and every result is right', async () => {
    const file = join(dir, 'rows.json');
    const only = ['decode', 'encode', 'decode_kl'].flatMap((op) => ['--only', `${op}/100,64`]);
    const { code, printed, errors } = await bench('--quick', ...only, '--json', file);
    // How fast the choice of `fastest` is depends on what else the machine does.
    const choice = printed.includes('WRONG CHOICE: ') && !printed.includes('WRONG: ');
    expect(code, errors + printed).toBe(choice ? 1 : 0);
    const { machine, rows, skipped }: { machine: unknown; rows: Row[]; skipped: string[] } =
      JSON.parse(await readFile(file, 'utf8'));
    expect(machine).toMatchObject({
      processor: expect.any(String),
      isa: expect.any(String),
      governor: expect.any(String),
      load: expect.any(Number),
    });
    expect(skipped).toContain('Python peers: SOFTPACK_BENCH_PYTHON is empty');
    for (const row of rows) {
      expect(row).toMatchObject({ dh: 1000, dc: 100, k: 64, threads: 1 });
      expect(row.labelsPerSecond).toBeGreaterThan(0);
      expect(row.spread[0]).toBeLessThanOrEqual(row.labelsPerSecond);
      expect(row.spread[1]).toBeGreaterThanOrEqual(row.labelsPerSecond);
      expect(printed).toContain(row.impl);
    }
    const errorsOf = (op: string) =>
      Object.fromEntries(
        rows
          .filter((row) => row.op === op && row.out === 'float32')
          .map((row) => [row.impl, row.error]),
      );
    // float32 differs from float64 in the seventh digit: no difference at all would be no comparison.
    for (const { op, impl, error } of rows)
      if (op !== 'encode') expect(error, impl).toBeGreaterThan(1e-9);
    const exact = { 'softpack exact': 2e-6, onnxruntime: 2e-6, 'TypeScript reference': 2e-6 };
    expectWithin(errorsOf('decode'), { ...exact, 'softpack fast': 2e-3, 'softpack fastest': 4e-3 });
    expectWithin(errorsOf('encode'), { softpack: 1e-5, onnxruntime: 1e-5 });
    expectWithin(errorsOf('decode_kl'), {
      ...{ 'softpack exact': 1e-5, onnxruntime: 1e-5 },
      ...{ 'softpack fast': 1e-2, 'softpack fastest': 2e-2 },
    });
  });

  test('measures entropy coding, whose values come back', async () => {
    const file = join(dir, 'streams.json');
    const { code, printed, errors } = await bench(
      '--quick',
      '--only',
      'rans-decode',
      '--json',
      file,
    );
    expect(code, errors + printed).toBe(0);
    const { rows }: { rows: Row[] } = JSON.parse(await readFile(file, 'utf8'));
    const own = rows.filter(({ side }) => side === 'softpack');
    expect(own.map(({ impl }) => impl)).toContain('softpack plain, 32 lanes');
    for (const { error, labelsPerSecond } of own) {
      expect(error).toBe(0);
      expect(labelsPerSecond).toBeGreaterThan(0);
    }
  });

  test('names an operation that it does not know', async () => {
    const { code, errors } = await bench('--only', 'unpack');
    expect(code).toBe(2);
    expect(errors).toContain('no operation "unpack"');
  });
});

function expectWithin(found: Record<string, number>, bounds: Record<string, number>): void {
  for (const [impl, bound] of Object.entries(bounds)) {
    expect(found, 'contenders').toHaveProperty([impl]);
    // NaN is not within any bound.
    expect(found[impl] <= bound, `${impl}: ${found[impl]}, at most ${bound}`).toBe(true);
  }
}
