import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { kernelStatus } from '#src/kernels/load.js';
import { BUILD_TIMEOUT, missingTools, run } from './build.js';
import { ARCHITECTURES, cudaModule, NoToolkit, shortName } from './module.js';

let lacking = missingTools();

describe('the CUDA module', () => {
  let folder = '';

  beforeAll(() => {
    if (lacking !== undefined) return;
    try {
      folder = cudaModule();
    } catch (error) {
      if (!(error instanceof NoToolkit)) throw error;
      lacking = error.message;
    }
    if (lacking !== undefined) console.log(`skipped: compiling the CUDA module (${lacking})`);
  }, BUILD_TIMEOUT);

  it('compiles without a warning and without spills', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const kernels = reportOf(readFileSync(path.join(folder, 'build.log'), 'utf8'));
    expect(kernels.length).toBeGreaterThan(20);
    expect(new Set(kernels.map(({ architecture }) => architecture))).toEqual(
      new Set(ARCHITECTURES),
    );
    for (const kernel of kernels) {
      expect(kernel).toMatchObject({ spillStores: 0, spillLoads: 0 });
      expect(kernel.registers).toBeGreaterThan(0);
    }
    const lines = kernels.map(({ name, architecture, registers }) => {
      return `${architecture.padEnd(8)}${String(registers).padStart(4)}  ${name}`;
    });
    console.log(['registers of the CUDA kernels, none spills:', ...lines.sort()].join('\n'));
  });

  it('needs no CUDA library and exports one symbol', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const module = path.join(folder, 'softpack_cuda.so');
    expect(run('ldd', [module])).not.toMatch(/cuda|cublas|nvidia/i);
    const symbols = run('nm', ['-D', '--defined-only', module]).trim().split('\n');
    expect(symbols).toEqual([expect.stringMatching(/ T SoftpackOpenModule$/)]);
  });

  it('opens, and is ready or says that there is no device', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    process.env.SOFTPACK_CUDA_MODULE = path.join(folder, 'softpack_cuda.so');
    const cuda = kernelStatus().find(({ name }) => name === 'cuda');
    expect(['ready', 'no-device']).toContain(cuda?.state);
    if (cuda?.state === 'no-device') {
      expect(cuda.reason).toMatch(/CUDA error (35|100)\)/);
      console.log(`skipped: the CUDA kernels on a GPU (${cuda.reason})`);
    }
  });
});

interface KernelReport {
  readonly name: string;
  readonly architecture: string;
  readonly registers: number;
  readonly spillStores: number;
  readonly spillLoads: number;
}

/** Output of `ptxas -v` for each kernel. */
function reportOf(log: string): KernelReport[] {
  const kernel =
    /Compiling entry function '(\S+)' for '(\S+)'[\s\S]*?(\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/g;
  return [...log.matchAll(kernel)].map(([, name = '', architecture = '', stores, loads, used]) => {
    const counts = {
      registers: Number(used),
      spillStores: Number(stores),
      spillLoads: Number(loads),
    };
    return { name: shortName(name), architecture, ...counts };
  });
}
