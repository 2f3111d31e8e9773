import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms, root } from './build.js';

const lacking = missingTools();
if (lacking !== undefined) console.log(`skipped: states of the CUDA backend (${lacking})`);

interface Outcome {
  readonly lines: readonly unknown[];
  readonly stderr: string;
  readonly status: number | null;
}

// Every state is one of the whole process, so each case runs in one of its own.
describe.skipIf(lacking !== undefined)('the CUDA backend', () => {
  let fake = '';
  beforeAll(() => {
    fake = path.join(nativeTestPrograms(), 'softpack_fake_module.so');
  }, BUILD_TIMEOUT);

  /** Runs code against the compiled package; `print` collects what it finds. */
  function runWith(plan: string, code: string, module = fake): Outcome {
    const source = `
      import { kernelStatus, loadKernels } from './dist/kernels/load.js';
      const lines = [];
      const print = (value) => lines.push(value);
      const errorOf = (work) => { try { work(); } catch (error) { return { code: error.code, message: error.message }; } };
      const cuda = () => kernelStatus().find(({ name }) => name === 'cuda');
      const product = (kernels, accumulate = false) => {
        const out = Float32Array.of(100);
        kernels.project({ a: Float32Array.of(2, 3), b: Float32Array.of(5, 7), out, rows: 1, inner: 2, columns: 1, accumulate });
        return out[0];
      };
      ${DECODER}
      ${code}
      console.log(JSON.stringify(lines));
    `;
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', source],
      {
        cwd: root,
        encoding: 'utf8',
        env: {
          ...process.env,
          SOFTPACK_BACKEND: '',
          SOFTPACK_CUDA_MODULE: module,
          SOFTPACK_FAKE_MODULE: plan,
        },
      },
    );
    return { lines: stdout === '' ? [] : (JSON.parse(stdout) as unknown[]), stderr, status };
  }

  const OPEN = `print(cuda()); print(errorOf(() => loadKernels({ backend: 'cuda' }))); print(loadKernels().name);`;

  it.each([
    ['version', 'incompatible', /version is \d+, this addon needs \d+.*build:cuda/],
    ['abi', 'incompatible', /ABI is \d+, this addon needs \d+/],
    ['short', 'incompatible', /lacks operations/],
    ['no-device', 'no-device', /missing driver \(CUDA error 35\)/],
  ])('is refused with a reason: %s', (plan, state, reason) => {
    const { lines, stderr } = runWith(plan, OPEN);
    expect(lines).toEqual([
      { name: 'cuda', state, reason: expect.stringMatching(reason) },
      { code: 'BACKEND_UNAVAILABLE', message: expect.stringMatching(reason) },
      'cpu',
    ]);
    expect(stderr).toBe('');
  });

  it('is asked for its state without a context, and refused once none can be created', () => {
    const { lines } = runWith('no-start', OPEN);
    const reason = expect.stringMatching(/lack of kernels \(CUDA error 209\)/);
    expect(lines).toEqual([
      { name: 'cuda', state: 'ready', reason: expect.anything() },
      { code: 'BACKEND_UNAVAILABLE', message: reason },
      'cpu',
    ]);
  });

  it('goes on after a call that the device refuses: auto does it on the CPU, with one warning', () => {
    const { lines, stderr } = runWith(
      'refuses:1',
      `const kernels = loadKernels(); print(product(kernels)); print(product(kernels)); print(kernels.name);`,
    );
    expect(lines).toEqual([31, 31, 'cuda']);
    expect(stderr.match(/SOFTPACK_DEVICE_REFUSED/g)).toHaveLength(1);
    const strict = runWith(
      'refuses:1',
      `const kernels = loadKernels({ backend: 'cuda' }); print(errorOf(() => product(kernels))); print(product(kernels));`,
    );
    expect(strict.lines).toEqual([
      {
        code: 'NATIVE_FAILED',
        message: expect.stringMatching(/refused an operation.*a fake refusal/),
      },
      31,
    ]);
  });

  it('is absent where there is no module, and says what to type', () => {
    const { lines } = runWith('', OPEN, '/nonexistent/module.so');
    expect(lines[0]).toMatchObject({
      state: 'absent',
      reason: expect.stringMatching(/does not exist/),
    });
    expect(lines.slice(1)).toEqual([
      { code: 'BACKEND_UNAVAILABLE', message: expect.anything() },
      'cpu',
    ]);
    const built = runWith('', OPEN, '');
    expect((built.lines[0] as { reason: string }).reason).toMatch(
      /build:cuda|compute capability|CUDA/,
    );
  });

  it('is incompatible where the file is no library', async () => {
    const file = (await temporaryDirectory()).path('softpack_cuda.so');
    writeFileSync(file, 'not a library');
    const { lines } = runWith('', OPEN, file);
    expect(lines[0]).toMatchObject({
      state: 'incompatible',
      reason: expect.stringContaining(file),
    });
    expect(lines[2]).toBe('cpu');
  });

  it('settles every call, and continues, if native code throws', () => {
    const settled = (error: string) => `
      const kernels = loadKernels({ backend: 'cuda' });
      const args = { a: Float32Array.of(2, 3), b: Float32Array.of(5, 7), out: new Float32Array(1), rows: 1, inner: 2, columns: 1 };
      const calls = { sync: () => kernels.project(args), later: () => kernels.projectAsync(args) };
      print(await Promise.resolve().then(calls.${error}).catch(({ code, message }) => ({ code, message })));
      print(product(kernels));`;
    for (const call of ['sync', 'later']) {
      for (const [plan, text] of [
        ['throws:1', 'out of memory'],
        ['breaks:1', 'failed unexpectedly'],
      ]) {
        const { lines, status } = runWith(plan, settled(call));
        expect(status).toBe(0);
        const error = { code: 'NATIVE_FAILED', message: expect.stringContaining(text) };
        expect(lines).toEqual([error, 31]);
      }
    }
  });

  it('is ready, preferred by auto, and computes', () => {
    const { lines, stderr } = runWith(
      '',
      `print(cuda().state); const kernels = loadKernels({ backend: 'cuda' });
       print(kernels.name); print(kernels.isa); print(product(kernels)); print(loadKernels().name);
       print(loadKernels({ backend: 'cpu' }).name);
       print([decoded(kernels), decoded(kernels, kernels.residentCodes(codes))]);`,
    );
    expect(lines.slice(0, 6)).toEqual([
      'ready',
      'cuda',
      'compute capability 9.0',
      31,
      'cuda',
      'cpu',
    ]);
    const [plain, resident] = lines[6] as number[][];
    expect(plain).toEqual([1, 2, 3, 4]);
    expect(resident).toEqual(plain);
    expect(stderr).toBe('');
  });

  it('throws a typed error once the device is lost, on every later call too', () => {
    const { lines, status } = runWith(
      'dies:2',
      `const kernels = loadKernels({ backend: 'cuda' }); print(product(kernels));
       print(errorOf(() => product(kernels))); print(errorOf(() => product(kernels)));
       print(cuda()); print(errorOf(() => loadKernels({ backend: 'cuda' })));`,
    );
    const lost = { code: 'DEVICE_LOST', message: expect.stringMatching(/illegal address/) };
    expect(lines).toEqual([
      31,
      lost,
      lost,
      { name: 'cuda', state: 'lost', reason: expect.anything() },
      lost,
    ]);
    expect(status).toBe(0);
  });

  it('lets auto go on with the CPU: same results, one warning', () => {
    for (let operation = 1; operation <= 5; operation++) {
      const { lines, stderr, status } = runWith(
        `dies:${operation}`,
        `const kernels = loadKernels(); print(product(kernels)); const using = decoderOf(kernels);
         print(decoded(kernels, codes, using)); print(product(kernels));
         await kernels.projectAsync({ a: Float32Array.of(1), b: Float32Array.of(1), out: new Float32Array(1), rows: 1, inner: 1, columns: 1 });
         print(decoded(kernels, codes, using)); print(kernels.name); print(using.method);`,
      );
      expect(lines).toEqual([31, [1, 2, 3, 4], 31, [1, 2, 3, 4], 'cpu', 'latent']);
      expect(stderr.match(/SOFTPACK_DEVICE_LOST/g)).toHaveLength(1);
      expect(status).toBe(0);
    }
  });

  it('does not do a sum onto its own output twice: auto throws, then goes on with the CPU', () => {
    const { lines } = runWith(
      'dies:1',
      `const kernels = loadKernels(); print(errorOf(() => product(kernels, true)).code); print(product(kernels, true));`,
    );
    expect(lines).toEqual(['DEVICE_LOST', 131]);
  });

  it('lets auto do on the CPU what the device has no memory for, and keeps the device', () => {
    const { lines, stderr } = runWith(
      'full:1',
      `const kernels = loadKernels(); const using = decoderOf(kernels);
       print(decoded(kernels, codes, using)); print(kernels.name); print(product(kernels));`,
    );
    expect(lines).toEqual([[1, 2, 3, 4], 'cuda', 31]);
    expect(stderr).toBe('');
    const strict = runWith(
      'full:1',
      `print(errorOf(() => decoderOf(loadKernels({ backend: 'cuda' }))));`,
    );
    expect(strict.lines).toEqual([
      { code: 'NATIVE_FAILED', message: expect.stringMatching(/out of memory/) },
    ]);
  });

  it('is shown by doctor', () => {
    const { stdout } = spawnSync(process.execPath, ['dist/cli/main.js', 'doctor'], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, SOFTPACK_CUDA_MODULE: fake, SOFTPACK_FAKE_MODULE: 'no-device' },
    });
    expect(stdout).toMatch(/cuda +no-device +a fake missing driver/);
  });

  it('serves several worker threads at once', () => {
    const { lines, stderr } = runWith(
      '',
      `const { Worker } = await import('node:worker_threads');
       const code = "import('node:worker_threads').then(({ parentPort }) => import('${pathToFileURL(path.join(root, 'dist/kernels/load.js'))}').then(({ loadKernels }) => { const out = new Float32Array(1); loadKernels({ backend: 'cuda' }).project({ a: Float32Array.of(2, 3), b: Float32Array.of(5, 7), out, rows: 1, inner: 2, columns: 1 }); parentPort.postMessage(out[0]); }));";
       const run = () => new Promise((resolve, reject) => { const worker = new Worker(code, { eval: true }); let value; worker.on('message', (found) => { value = found; }); worker.on('error', reject); worker.on('exit', () => resolve(value)); });
       print(await Promise.all([run(), run(), run()]));`,
    );
    expect(stderr).toBe('');
    expect(lines).toEqual([[31, 31, 31]]);
  });
});

const DECODER = `
  const codes = Uint8Array.of(0b10);
  const decoderOf = (kernels) => kernels.createDecoder({
    classes: 2, latent: 1, stages: 1, levels: 2, width: 1, codebookStride: 0, latentStep: 1, bits: 1,
    codebooks: Float32Array.of(1, 3), basis: Float32Array.of(1, 1), bias: Float32Array.of(0, 1), head: { kind: 'identity' },
  });
  const decoded = (kernels, from = codes, decoder = decoderOf(kernels)) => {
    const out = new Float32Array(4);
    decoder.decode({ codes: from, labels: { start: 0, count: 2 }, out });
    return [...out];
  };
`;
