import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const script = fileURLToPath(new URL('worker-storm.mjs', import.meta.url));

function storm(...args: readonly string[]) {
  const child = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
  expect({ status: child.status, signal: child.signal, stderr: child.stderr }).toEqual({
    status: 0,
    signal: null,
    stderr: '',
  });
  return JSON.parse(child.stdout) as { exits: number; results: unknown[] };
}

it('works in several worker threads at once, with equal results', () => {
  const { exits, results } = storm();
  expect(exits).toBe(8);
  expect(results).toHaveLength(1);
  expect(results[0]).toBeTypeOf('number');
});

it('survives the termination of workers that are busy in it', () => {
  const { exits } = storm('terminate');
  expect(exits).toBe(40);
});

it('lets the process exit while work is under way', () => {
  const code = `
    import { loadKernels } from '#src/kernels/load.js';
    const n = 700;
    const a = new Float32Array(n * n), b = new Float32Array(n * n), out = new Float32Array(n * n);
    const shape = { rows: n, inner: n, columns: n };
    for (let i = 0; i < 8; i++) loadKernels().projectAsync({ a, b, out: new Float32Array(n * n), ...shape });
    setTimeout(() => process.exit(7), 5);
  `;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  expect([child.status, child.signal, child.stderr]).toEqual([7, null, '']);
});
