import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { isas } from './support.js';

const script = fileURLToPath(new URL('isa-digests.mjs', import.meta.url));

interface Digests {
  readonly isa: string;
  readonly digests: Readonly<Record<string, string>>;
}

function digestsOn(isa: string): Digests {
  const env = { ...process.env, SOFTPACK_ISA: isa };
  const output = execFileSync(process.execPath, [script], { env, encoding: 'utf8' });
  return JSON.parse(output) as Digests;
}

let scalar: Digests | undefined;

describe.each(['avx2', 'avx512', 'avx512_bf16', 'amx', 'neon'])('%s', (isa) => {
  it('gives the bytes of the scalar kernels', (context) => {
    expect(isas).toContain('scalar');
    if (!isas.includes(isa)) {
      context.skip(`this processor has no ${isa}, only: ${isas.join(', ')}`);
    }
    scalar ??= digestsOn('scalar');
    expect(scalar.isa).toBe('scalar');
    const found = digestsOn(isa);
    expect(found.isa).toBe(isa);
    expect(Object.keys(found.digests).length).toBeGreaterThan(100);
    expect(found.digests).toEqual(scalar.digests);
  });
});

it('refuses an instruction set that is not there, naming those that are', () => {
  const code = `import('#src/kernels/load.js').then(({ kernelStatus, loadKernels }) => {
    const [cpu] = kernelStatus();
    try { loadKernels(); } catch (error) { console.log(JSON.stringify([cpu, error.code, error.message])); }
  })`;
  const env = { ...process.env, SOFTPACK_ISA: 'pentium' };
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
    env,
    encoding: 'utf8',
  });
  const [cpu, errorCode, message] = JSON.parse(output) as [{ state: string }, string, string];
  expect(cpu.state).toBe('unsupported');
  expect(errorCode).toBe('BACKEND_UNAVAILABLE');
  expect(message).toMatch(/SOFTPACK_ISA=pentium.*scalar/);
});
