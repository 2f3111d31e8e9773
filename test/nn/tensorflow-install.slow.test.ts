import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type InstallOptions,
  type InstallProgress,
  installTensorflow,
  uninstallTensorflow,
} from '#src/nn/tensorflow-install/install.js';
import { installedTensorflow } from '#src/nn/tensorflow-install/location.js';
import { TENSORFLOW_VERSION } from '#src/nn/tensorflow-install/plan.js';
import { temporaryDirectory } from '../temporary.js';
import { FakeTools, wheel } from './fake-tools.js';

const temporary = await temporaryDirectory();
const tools = await FakeTools.create(temporary.path('fake tools'));
const LIBRARIES = {
  'tensorflow/libtensorflow_cc.so.2': 'library',
  'tensorflow/libtensorflow_framework.so.2': 'framework',
  'tensorflow/include/tensorflow/c/c_api.h': 'header',
  'tensorflow/include/tensorflow/c/kernels.h': 'header',
  'tensorflow/python/rest.py': 'not needed',
};
const TENSORFLOW = { name: 'tensorflow-cpu', version: TENSORFLOW_VERSION };
const FILE = 'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl';

const dir = temporary.path('a path with spaces/tensorflow');
const work = `${dir}.partial`;

beforeEach(async () => {
  for (const [name, value] of Object.entries(tools.env)) vi.stubEnv(name, value);
  await tools.clearLog();
  await tools.set({});
  await rm(tools.wheels, { recursive: true });
  await mkdir(tools.wheels);
  await writeFile(join(tools.wheels, FILE), wheel(TENSORFLOW, LIBRARIES));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(dirname(dir), { recursive: true, force: true });
});

function install(options: InstallOptions = {}) {
  return installTensorflow({ dir, ...options });
}

/** Aborts as soon as a phase has begun and the tool is at work. */
async function interruptAt(phase: InstallProgress['phase'], tool: string) {
  const controller = new AbortController();
  const call = install({ signal: controller.signal });
  const atWork = async () => (await tools.calls()).some((line) => line.startsWith(tool));
  await vi.waitUntil(atWork, { timeout: 20_000, interval: 20 });
  controller.abort();
  await expect(call, phase).rejects.toMatchObject({ code: 'ABORTED' });
}

describe('an installation', () => {
  it('is made of wheel, package and compiler in a folder whose path has spaces', async () => {
    const phases: string[] = [];
    vi.stubEnv('GITHUB_TOKEN', 'secret');
    vi.stubEnv('NODE_OPTIONS', '--no-warnings');
    vi.stubEnv('PIP_INDEX_URL', 'https://mirror.example/simple');
    const result = await install({ onProgress: ({ phase }) => phases.push(phase) });
    expect([...new Set(phases)]).toEqual(['package', 'download', 'unpack', 'compile', 'verify']);
    expect(result).toMatchObject({ dir, verified: { version: 'fake', devices: ['CPU'] } });
    expect(result.driver).toBeUndefined();
    const { files, ...state } = installedTensorflow(dir) ?? expect.unreachable();
    expect(state).toMatchObject({ tensorflow: TENSORFLOW_VERSION, variant: 'cpu' });
    expect(Object.keys(files)).toContain('tensorflow/libtensorflow_cc.so.2');
    expect(existsSync(join(dir, 'tensorflow/python'))).toBe(false);
    expect(await readdir(dirname(dir))).toEqual(['tensorflow']);
    expect(Object.keys(files)).toContain('node_modules/@tensorflow/tfjs-node-gpu/index.js');
    const variables = await tools.variables();
    expect(variables).toContain('PIP_INDEX_URL');
    expect(variables).not.toContain('GITHUB_TOKEN');
    expect(variables).not.toContain('NODE_OPTIONS');
    const [packages, download, requirement] = await tools.calls();
    expect(packages).toMatch(/^NPM ci --ignore-scripts /);
    expect(download).toContain('--require-hashes');
    expect(requirement).toMatch(/^tensorflow-cpu==2\.21\.0 --hash=sha256:[0-9a-f]{64}$/);
  });

  it('is there at once the second time, with no tool at hand', async () => {
    await install();
    await tools.clearLog();
    vi.stubEnv('PATH', '/nowhere');
    const again = await install();
    expect(again.verified).toBeUndefined();
    expect(again.installed.tensorflow).toBe(TENSORFLOW_VERSION);
    expect(await tools.calls()).toEqual([]);
    // A file that is cut short makes it incomplete: it would be made anew.
    await writeFile(join(dir, 'tensorflow/libtensorflow_cc.so.2'), 'cut');
    expect(installedTensorflow(dir)).toBeUndefined();
    await expect(install()).rejects.toMatchObject({ code: 'TOOL_MISSING' });
    expect(await uninstallTensorflow(dir)).toBe(true);
    expect(await uninstallTensorflow(dir)).toBe(false);
  });

  it('of an earlier release gets operations from its own files, by the compiler alone', async () => {
    const first = await install();
    const state = join(dir, 'state.json');
    const { operations } = first.installed;
    expect(operations).toMatch(/^[0-9a-f]{64}$/);
    await writeFile(state, JSON.stringify({ ...first.installed, operations: 'of before' }));
    await tools.clearLog();
    const bin = temporary.path('only a compiler');
    await mkdir(bin);
    await symlink(join(tools.bin, 'g++'), join(bin, 'g++'));
    vi.stubEnv('PATH', bin);
    await tools.set({ COMPILER: 'x.cc:1: error: no' });
    await expect(install()).rejects.toMatchObject({ code: 'BUILD_FAILED', field: 'operations' });
    expect(installedTensorflow(dir)?.operations).toBe('of before');
    await tools.set({});
    const again = await install();
    expect(again.installed).toEqual(first.installed);
    expect((await tools.calls()).join()).not.toMatch(/PIP|NPM|tfjs_binding/);
    expect(await readdir(dirname(dir))).toEqual(['tensorflow']);
    expect((await install()).verified).toBeUndefined();
  });

  it('started twice at once is made once', async () => {
    const waits: string[] = [];
    const onProgress = ({ phase }: InstallProgress) => phase === 'wait' && waits.push(phase);
    const results = await Promise.all([install({ onProgress }), install({ onProgress })]);
    expect(results.filter(({ verified }) => verified !== undefined)).toHaveLength(1);
    expect(waits.length).toBeGreaterThan(0);
    expect((await tools.calls()).filter((line) => line.startsWith('PIP'))).toHaveLength(1);
  });

  it('for GPUs has the libraries that the wheel names, and says which driver they need', async () => {
    const metadata = [
      'Requires-Dist: numpy>=1.26.0',
      "Requires-Dist: nvidia-cudnn-cu12<10.0,>=9.3; extra == 'and-cuda'",
      "Requires-Dist: nvidia-cublas-cu12<13.0,>=12.5; extra == 'and-cuda'",
    ].join('\n');
    await rm(join(tools.wheels, FILE));
    const name = 'tensorflow';
    const cxx11 = {
      ...LIBRARIES,
      'tensorflow/libtensorflow_framework.so.2': '_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcE',
      'tensorflow/include/xla/stream.h': 'header',
    };
    const whole = wheel({ name, version: TENSORFLOW_VERSION }, cxx11, { metadata });
    await writeFile(join(tools.wheels, 'tensorflow-2.21.0.whl'), whole);
    const pins = await readFile(
      new URL('../../native/tensorflow/nvidia.txt', import.meta.url),
      'utf8',
    );
    for (const library of ['cudnn', 'cublas']) {
      const [, version] =
        new RegExp(`^nvidia-${library}-cu12==(\\S+) --hash=sha256:[0-9a-f]{64}$`, 'm').exec(pins) ??
        expect.unreachable();
      const members = {
        [`nvidia/${library}/lib/lib${library}.so.1`]: library,
        [`nvidia/${library}/include/x.h`]: 'not needed',
      };
      const bytes = wheel({ name: `nvidia-${library}-cu12`, version }, members);
      await writeFile(join(tools.wheels, `nvidia_${library}_cu12-${version}-py3.whl`), bytes);
    }
    // One that an earlier release fetched: not among the versions of this one.
    const stranger = wheel(
      { name: 'nvidia-nccl-cu12', version: '1.0' },
      { 'nvidia/nccl/lib/libnccl.so.1': 'old' },
    );
    await writeFile(join(tools.wheels, 'nvidia_nccl_cu12-1.0-py3.whl'), stranger);
    const result = await install({ variant: 'gpu' });
    expect(result.driver).toContain('525.60.13');
    expect(result.driver).toContain('555.42.02');
    const [, , requirement, download, ...rest] = await tools.calls();
    const libraries = rest.filter((line) => !line.startsWith('COMPILER'));
    expect(requirement).toMatch(/^tensorflow==2\.21\.0 --hash=sha256:[0-9a-f]{64}$/);
    expect(download).toContain('--require-hashes');
    expect(libraries).toEqual(pins.split('\n').filter((line) => line !== ''));
    expect(libraries.join()).not.toContain('numpy');
    const { files, variant } = installedTensorflow(dir) ?? expect.unreachable();
    expect(variant).toBe('gpu');
    // TensorFlow's stream is found in C++, with the std::string of the library, and headers that are not kept.
    const [, stream, operations] = rest.filter((line) => line.startsWith('COMPILER'));
    expect(stream).toMatch(/ -c .*-D_GLIBCXX_USE_CXX11_ABI=1 .*tensorflow\/device_stream\.cc/);
    expect(operations).toContain('-DSOFTPACK_TENSORFLOW_DEVICE operations/device_stream.o');
    expect(Object.keys(files)).toContain('operations/device_stream.o');
    expect(Object.keys(files)).not.toContain('tmp/headers/tensorflow/include/xla/stream.h');
    expect(Object.keys(files)).toContain('nvidia/cudnn/lib/libcudnn.so.1');
    expect(existsSync(join(dir, 'nvidia/cublas/include'))).toBe(false);
    expect(existsSync(join(dir, 'nvidia/nccl'))).toBe(false);
  });
});

describe('an interrupted installation', () => {
  it.each([
    ['download', 'PIP'],
    ['compile', 'COMPILER'],
  ] as const)(
    'at %s leaves nothing half done, and the next one goes through',
    async (phase, tool) => {
      await tools.set({ [tool]: 'wait' });
      await interruptAt(phase, tool);
      expect(existsSync(dir)).toBe(false);
      // Whole wheels are kept, for pip to find.
      expect(existsSync(join(work, 'wheels', FILE))).toBe(phase === 'compile');
      await tools.set({});
      await expect(install()).resolves.toHaveProperty('verified');
      expect(existsSync(work)).toBe(false);
    },
  );

  it('that was killed is cleared away', async () => {
    const script = `import { installTensorflow } from ${JSON.stringify(
      fileURLToPath(new URL('../../dist/nn/tensorflow-install/install.js', import.meta.url)),
    )}; await installTensorflow({ dir: ${JSON.stringify(dir)} });`;
    await tools.set({ COMPILER: 'wait' });
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    const ended = new Promise((done) => child.once('close', done));
    const compiling = async () => (await tools.calls()).some((line) => line.startsWith('COMPILER'));
    await vi.waitUntil(compiling, { timeout: 20_000, interval: 20 });
    child.kill('SIGKILL');
    await ended;
    expect(existsSync(join(work, 'owner'))).toBe(true);
    await tools.set({});
    await expect(install()).resolves.toHaveProperty('verified');
    expect(await readdir(dirname(dir))).toEqual(['tensorflow']);
  });
});

describe('it fails with what is wrong and what to do', () => {
  const HASHES = `ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    Expected sha256 aaaa
         Got        bbbb`;
  const NETWORK = `WARNING: Retrying (Retry(total=1)) after connection broken by NewConnectionError
ERROR: Could not find a version that satisfies the requirement tensorflow-cpu==2.21.0 (from versions: none)
ERROR: No matching distribution found for tensorflow-cpu==2.21.0`;

  it.each([
    ['no network for pip', 'PIP', NETWORK, 'DOWNLOAD_FAILED', /--wheel.*No matching/s],
    ['another wheel in the index', 'PIP', HASHES, 'CORRUPT_DATA', /sha256.*bbbb/s],
    [
      'a full disk under pip',
      'PIP',
      'OSError: [Errno 28] No space left on device',
      'NO_SPACE',
      /dir/,
    ],
    [
      'another package in the registry',
      'NPM',
      'npm error code EINTEGRITY',
      'CORRUPT_DATA',
      /EINTEGRITY/,
    ],
    ['no network for npm', 'NPM', 'npm error code ENOTFOUND', 'DOWNLOAD_FAILED', /ENOTFOUND/],
    ['a compiler that fails', 'COMPILER', 'x.cc:1: error: no', 'BUILD_FAILED', /x\.cc:1: error/],
  ] as const)('%s', async (_, tool, says, code, words) => {
    await tools.set({ [tool]: says });
    const call = install();
    await expect(call).rejects.toMatchObject({ code });
    await expect(call).rejects.toThrow(words);
    expect(existsSync(dir)).toBe(false);
  });

  it.each([
    ['python', 'python3', /pip.*--wheel/],
    ['npm', 'npm', /npm/],
    ['compiler', 'g++', /apt install g\+\+/],
  ] as const)('no %s', async (field, name, words) => {
    const bin = temporary.path(`without ${field}`);
    await mkdir(bin);
    for (const other of ['python3', 'npm', 'g++']) {
      if (other !== name) await symlink(join(tools.bin, other), join(bin, other));
    }
    vi.stubEnv('PATH', bin);
    const call = install();
    await expect(call).rejects.toMatchObject({ code: 'TOOL_MISSING', field });
    await expect(call).rejects.toThrow(words);
    expect(await tools.calls()).toEqual([]);
  });

  it('no space for it', async () => {
    // The file system of processes has no free block.
    const call = installTensorflow({ dir: '/proc/tensorflow' });
    await expect(call).rejects.toMatchObject({ code: 'NO_SPACE', found: '0 MiB' });
    expect(await tools.calls()).toEqual([]);
  });

  it('a disk that is full half-way', async () => {
    const full = temporary.path('full');
    await mkdir(join(full, 'bin'), { recursive: true });
    for (const other of ['python3', 'g++']) {
      await symlink(join(tools.bin, other), join(full, 'bin', other));
    }
    // A library is unpacked onto a device that is always full.
    const npm = `#!/bin/sh\nPATH=/usr/bin:/bin\n"${join(tools.bin, 'npm')}" "$@"
case "$*" in ci*) mkdir -p tensorflow; ln -s /dev/full tensorflow/libtensorflow_cc.so.2 ;; esac\n`;
    await writeFile(join(full, 'bin', 'npm'), npm, { mode: 0o755 });
    vi.stubEnv('PATH', join(full, 'bin'));
    await expect(install()).rejects.toMatchObject({ code: 'NO_SPACE', field: dir });
    expect(existsSync(dir)).toBe(false);
  });

  it('an addon that was built and does not run', async () => {
    const packages = temporary.path('broken packages');
    const folder = join(packages, '@tensorflow/tfjs-node-gpu');
    await mkdir(join(folder, 'binding'), { recursive: true });
    const line = 'static std::set<std::string> ATTR_NAME_SET;\n';
    await writeFile(join(folder, 'binding/tfjs_backend.cc'), line);
    await writeFile(join(folder, 'index.js'), "throw new Error('undefined symbol: TF_Version');");
    await tools.set({}, packages);
    const call = install();
    await expect(call).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await expect(call).rejects.toThrow('undefined symbol: TF_Version');
    expect(existsSync(dir)).toBe(false);
  });

  const given = { ...TENSORFLOW };
  it.each([
    ['of another package', wheel({ ...given, name: 'numpy' }, LIBRARIES), 'INVALID_FILE', 'numpy'],
    [
      'of another release',
      wheel({ ...given, version: '2.9.1' }, LIBRARIES),
      'INVALID_FILE',
      '2.9.1',
    ],
    [
      'for another machine',
      wheel({ ...given, tag: 'cp311-cp311-macosx_12_0_arm64' }, LIBRARIES),
      'INVALID_FILE',
      'macosx',
    ],
    ['cut short', wheel(given, LIBRARIES).subarray(0, 300), 'INVALID_FILE', 'whole'],
    ['that is none', Buffer.from('not a zip file'), 'INVALID_FILE', 'whole'],
    [
      'changed after it was made',
      wheel(given, LIBRARIES, { record: 'AAAA' }),
      'CORRUPT_DATA',
      'AAAA',
    ],
    ['without libraries', wheel(given, {}), 'INVALID_FILE', 'libtensorflow'],
  ] as const)('a wheel %s', async (_, bytes, code, words) => {
    const call = install({ wheel: await temporary.file('given.whl', bytes) });
    await expect(call).rejects.toMatchObject({ code });
    await expect(call).rejects.toThrow(words);
    expect(existsSync(dir)).toBe(false);
  });

  it('and takes a right wheel, without pip', async () => {
    await tools.set({ PIP: 'no pip' });
    const file = await temporary.file(
      'given.whl',
      wheel({ ...given, version: '2.20.0' }, LIBRARIES),
    );
    const { installed } = await install({ wheel: file });
    expect(installed.tensorflow).toBe('2.20.0');
  });
});
