import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadKernels } from '#src/kernels/load.js';
import type { Decoder, Kernels } from '#src/kernels/types.js';
import {
  packedCodes,
  randomFloats,
  randomStream,
  residualSpec,
  segmentSpec,
} from '../kernels/support.js';
import { temporaryDirectory } from '../temporary.js';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms, run } from './build.js';

const lacking = missingTools();
if (lacking !== undefined) console.log(`skipped: the emulated CUDA kernels (${lacking})`);

// The module's own kernels and host code, on the CPU (test/native/cuda_emulation.h).
describe.skipIf(lacking !== undefined)('the CUDA kernels, emulated', () => {
  let programs = '';
  let cuda: Kernels;
  const cpu = loadKernels({ backend: 'cpu' });

  beforeAll(() => {
    programs = nativeTestPrograms();
    process.env.SOFTPACK_CUDA_MODULE = path.join(programs, 'softpack_cuda_emulated.so');
    cuda = loadKernels({ backend: 'cuda' });
  }, BUILD_TIMEOUT);

  const check = (env: Record<string, string> = {}, ...options: string[]) =>
    spawnSync(
      path.join(programs, 'native_cuda_check'),
      [path.join(programs, 'softpack_cuda_emulated.so'), ...options],
      { encoding: 'utf8', env: { ...process.env, ...env } },
    );

  it('pass native_cuda_check, each kernel once: the CPU bytes, and float64 within bounds', () => {
    const { stdout, stderr, status } = check({}, '--brief');
    expect(stderr).toBe('');
    expect(stdout).toMatch(/\d{3,} checks, 0 failed/);
    expect(status).toBe(0);
  });

  it(
    'pass it on a device without clusters and with less shared memory',
    () => {
      const { stdout, stderr, status } = check({ SOFTPACK_EMULATION: 'ampere' }, '--brief');
      expect(stderr).toBe('');
      expect(stdout).toMatch(/compute capability 8\.0[\s\S]*\n\d{3,} checks, 0 failed/);
      expect(status).toBe(0);
    },
    BUILD_TIMEOUT,
  );

  it('report a missing driver as no device', () => {
    const { stdout, status } = check({ SOFTPACK_EMULATION: 'absent' });
    expect(stdout).toMatch(/no device: .*CUDA error 35/);
    expect(status).toBe(3);
  });

  it('report a failing kernel, and memory that is out, without ending the process', () => {
    const lost = check({ SOFTPACK_EMULATION: 'ready,launch:40' }, '--brief');
    expect(lost.stderr).toMatch(/cannot be used again.*illegal/i);
    expect(lost.status).toBe(1);
    const full = check({ SOFTPACK_EMULATION: 'ready,malloc:30' }, '--brief');
    expect(full.stderr).toMatch(/out of memory|memory is allocated/);
    expect(full.stderr).not.toMatch(/cannot be used again/);
    expect(full.status).toBe(1);
  });

  it(
    'run the timing program, whose figures mean nothing here',
    async () => {
      const file = (await temporaryDirectory()).path('timings.json');
      const { stderr, status } = check({}, '--time', file, '8');
      expect([stderr, status]).toEqual(['', 0]);
      const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: { operation: string }[] };
      const operations = rows.map(({ operation }) => operation);
      expect(operations).toHaveLength(33);
      for (const version of ['1', '2']) {
        for (const row of ['decode bfloat', 'decode fixed', 'decode_kl bfloat']) {
          expect(operations).toContain(`${row} version ${version}`);
        }
        for (const method of ['bfloat', 'fixed']) {
          expect(operations).toContain(`decode ${method} version ${version} f16`);
        }
        expect(operations).toContain(`decode_kl bfloat version ${version} bf16`);
      }
      for (const method of ['latent', 'fixed', 'bfloat', 'split']) {
        expect(operations).toContain(`decode ${method}`);
        expect(operations).toContain(`decode_kl ${method}`);
      }
      for (const version of ['1', '2']) expect(operations).toContain(`encode version ${version}`);
      for (const call of ['unpack', 'decode', 'decode_kl']) {
        expect(operations).toContain(`${call} transform`);
      }
      for (const kind of ['listed', 'spread', 'hidden'])
        expect(operations).toContain(`token_kl ${kind}`);
    },
    BUILD_TIMEOUT,
  );

  const device = (name: string, emulation = 'ready', env: NodeJS.ProcessEnv = {}) =>
    run(path.join(programs, 'cuda_device_test'), [name], {
      SOFTPACK_EMULATION: emulation,
      ...env,
    });

  it.each<[name: string, emulation?: string, env?: NodeJS.ProcessEnv]>([
    ['status'],
    ['no-image', 'ready,noimage:209'],
    // PTX that the driver is too old for.
    ['no-image', 'ready,noimage:222'],
    ['other-device'],
    ['chosen-device', 'ready', { SOFTPACK_CUDA_DEVICE: '1' }],
    ['unknown-device', 'ready', { SOFTPACK_CUDA_DEVICE: '2' }],
    ['unknown-device', 'ready', { SOFTPACK_CUDA_DEVICE: '-1' }],
    ['unknown-device', 'ready', { SOFTPACK_CUDA_DEVICE: '0x' }],
    ['unknown-device', 'ready', { SOFTPACK_CUDA_DEVICE: ' 1' }],
    ['unknown-device', 'ready', { SOFTPACK_CUDA_DEVICE: '4294967296' }],
    ['use-device'],
    ['use-unknown-device'],
    ['refused', 'ready,refuse:5'],
    ['sticky', 'ready,launch:5,code:214'],
    ['sticky', 'ready,launch:5,code:719'],
    ['shared-memory'],
    ['default-stream'],
    ['captured'],
    ['captured-fault'],
  ])('hold with their surroundings: %s, %s', (name, emulation, env) => {
    expect(device(name, emulation, env)).toBe('ok\n');
  });

  it('lie in memory where their headers say, by brute force', () => {
    expect(run(path.join(programs, 'cuda_emulation_test'), ['layout'])).toBe('0 failed\n');
  });

  it('multiply by words and tiles that lie where they are read, by brute force', () => {
    expect(run(path.join(programs, 'cuda_emulation_test'), ['packing'])).toBe('0 failed\n');
  });

  it("find each fault in the use of Hopper's copies and products", () => {
    const test = path.join(programs, 'cuda_emulation_test');
    expect(run(test, ['hopper'])).toBe('0 wrong sums of a warpgroup\n');
    // In the order of test/native/cuda_hopper_test.h.
    const faults = [
      /a product without a fence/,
      /more arrivals than an mbarrier counts|[1-9]\d* wrong sums/,
      /sums were used while a product was under way/,
      /a register changed while a product read it/,
      /a tile changed while a product read it/,
      /more arrivals than an mbarrier counts/,
      /[1-9]\d* wrong sums/,
      /[1-9]\d* wrong sums/,
      /[1-9]\d* wrong sums/,
      /an mbarrier is used that was not published/,
      /shared memory of a block that has ended/,
    ];
    for (const [i, fault] of faults.entries()) {
      const { stdout, stderr, status } = spawnSync(test, ['hopper', String(i + 1)], {
        encoding: 'utf8',
      });
      expect(stdout + stderr).toMatch(fault);
      expect(status).not.toBe(0);
    }
  });

  it('find races and barriers that not all threads reach', () => {
    const test = path.join(programs, 'cuda_emulation_test');
    expect(run(test, [])).toBe('0 wrong sums\n');
    const { stderr, signal } = spawnSync(test, ['diverge'], { encoding: 'utf8' });
    expect(stderr).toMatch(/wait at a barrier that the others never reach/);
    expect(signal).toBe('SIGABRT');
  });

  it('decode through Node as the CPU does, from host memory and from resident codes', async () => {
    const random = randomStream(4);
    const specs = [
      segmentSpec(random, { classes: 129, stages: 6, width: 3, levels: 20 }),
      residualSpec(random, { classes: 40, stages: 5, width: 7, levels: 16 }),
    ];
    for (const spec of specs) {
      for (const method of ['latent', 'table', 'fixed'] as const) {
        const full = { ...spec, method, head: { kind: 'softmax', tau: 2 } as const };
        const codes = packedCodes(spec, 50, random);
        using resident = cuda.residentCodes(codes);
        using here = cpu.createDecoder(full);
        using there = cuda.createDecoder(full);
        const labels = Uint32Array.of(3, 49, 0, 3, 17);
        const decode = async (
          decoder: Decoder,
          from: Parameters<Decoder['decode']>[0]['codes'],
        ) => {
          const out = new Uint16Array(labels.length * spec.classes);
          await decoder.decodeAsync({ codes: from, labels, out });
          return out;
        };
        const expected = await decode(here, codes);
        expect(await decode(there, codes)).toEqual(expected);
        expect(await decode(there, resident)).toEqual(expected);
        // Another backend decodes from the array they came from.
        expect(await decode(here, resident)).toEqual(expected);

        const logits = randomFloats(random, labels.length * spec.classes);
        const losses = [here, there].map((decoder) => {
          const found = new Float32Array(labels.length);
          const gradient = logits.slice();
          decoder.decodeKl({ codes, labels, logits: gradient, gradient, losses: found, tau: 2 });
          return [found, gradient];
        });
        expect(losses[1]).toEqual(losses[0]);
      }
    }
  });

  it('name the wrong index, and take no codes that were disposed of', () => {
    const random = randomStream(5);
    const spec = { ...segmentSpec(random, { classes: 9, stages: 2, width: 2, levels: 5 }) };
    using decoder = cuda.createDecoder(spec);
    const codes = Uint8Array.of(0b111_000, 0);
    const out = new Float32Array(9);
    const labels = { start: 0, count: 1 };
    expect(() => decoder.decode({ codes, labels, out })).toThrow(
      /codes: an index beyond.*7 at stage 1/,
    );
    const resident = cuda.residentCodes(Uint8Array.of(0, 0));
    decoder.decode({ codes: resident, labels, out });
    const before = out.slice();
    resident.dispose();
    decoder.decode({ codes: resident, labels, out });
    expect(out).toEqual(before);
  });
});
