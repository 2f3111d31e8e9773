import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { ADDON_VERSION, type Addon } from '#src/kernels/addon.js';
import { findAddon } from '#src/kernels/find-addon.js';
import { kernelStatus, loadKernels } from '#src/kernels/load.js';
import { cpu, errorOf } from './support.js';

const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
const BUILT = fileURLToPath(new URL('../../build/Release/softpack.node', import.meta.url));
const bare = mkdtempSync(path.join(tmpdir(), 'softpack-bare-'));
cpSync(dist, path.join(bare, 'dist'), { recursive: true });
writeFileSync(path.join(bare, 'package.json'), '{"type": "module"}');
afterAll(() => rmSync(bare, { recursive: true, force: true }));

/** Runs code against the compiled package as it is where no addon was built. */
function runBare(code: string, env: Record<string, string> = {}) {
  const source = `import { kernelStatus, loadKernels } from './dist/kernels/load.js'; ${code}`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    cwd: bare,
    env: { ...process.env, SOFTPACK_BACKEND: '', ...env },
    encoding: 'utf8',
  });
}

it('prefers the addon and tells its instruction set and threads', () => {
  expect(loadKernels().name).toBe('cpu');
  const [first, cuda, last] = kernelStatus();
  expect(first).toMatchObject({ name: 'cpu', state: 'ready' });
  expect(first?.reason).toContain(cpu.isa);
  expect(first?.reason).toMatch(/\d+ threads/);
  // Absent, unless a developer has built it here.
  expect(cuda).toEqual({ name: 'cuda', state: expect.anything(), reason: expect.anything() });
  expect(last).toMatchObject({ name: 'reference', state: 'ready' });
});

it('refuses an unknown backend', () => {
  expect(errorOf(() => loadKernels({ backend: 'gpu' as never }))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'backend',
    found: 'gpu',
  });
});

it('falls back to the reference with one warning that says what to type', () => {
  const { stdout, stderr } = runBare(
    'loadKernels(); console.log(loadKernels().name, loadKernels().isa)',
  );
  expect(stdout.trim()).toBe('reference javascript');
  expect(stderr.match(/SOFTPACK_REFERENCE_KERNELS/g)).toHaveLength(1);
  expect(stderr).toContain('npx softpack doctor --build');
});

it('throws where the addon is asked for and missing, and says so in the status', () => {
  const { stdout, stderr } = runBare(`
    console.log(JSON.stringify(kernelStatus()[0]));
    try { loadKernels({ backend: 'cpu' }) } catch (error) { console.log(error.code, error.message) }
  `);
  expect(stderr).toBe('');
  const [status = '', error] = stdout.trim().split('\n');
  expect(JSON.parse(status)).toMatchObject({ name: 'cpu', state: 'absent' });
  expect(error).toMatch(/^BACKEND_UNAVAILABLE.*doctor --build/);
});

it('tells why an addon that is there does not load', () => {
  const folder = path.join(bare, 'build/Release');
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'softpack.node'), 'not a library');
  const { stdout } = runBare('console.log(JSON.stringify(kernelStatus()[0]))');
  rmSync(path.join(bare, 'build'), { recursive: true });
  const status = JSON.parse(stdout) as { state: string; reason: string };
  expect(status.state).toBe('broken');
  expect(status.reason).toMatch(/softpack\.node: .+doctor --build/);
});

it('takes the addon of the package that an installer chose for this platform', () => {
  const { platform, arch } = process;
  // Both may be installed: one does not load with another C library, and the other is taken.
  const names =
    platform === 'linux' ? [`linux-${arch}`, `linuxmusl-${arch}`] : [`${platform}-${arch}`];
  const folder = (name = '') => path.join(bare, 'node_modules/@softpack', name);
  const install = (name: string, write: (file: string) => void) => {
    mkdirSync(folder(name), { recursive: true });
    writeFileSync(path.join(folder(name), 'package.json'), '{"main": "softpack.node"}');
    write(path.join(folder(name), 'softpack.node'));
  };
  for (const name of names.slice(0, -1)) {
    install(name, (file) => writeFileSync(file, 'of another C library'));
  }
  install(names.at(-1) ?? '', (file) => cpSync(BUILT, file));
  const { stdout } = runBare('console.log(JSON.stringify(kernelStatus()[0]), loadKernels().name)');
  rmSync(folder(), { recursive: true });
  expect(stdout).toMatch(/"state":"ready".* cpu\n$/);
});

it('tells why building failed', () => {
  const log = path.join(bare, 'build-addon.log');
  writeFileSync(log, 'gyp info it worked\ngyp ERR! not found: make\n');
  const { stdout } = runBare('console.log(JSON.stringify(kernelStatus()[0]))');
  rmSync(log);
  expect(stdout).toContain('building failed: gyp ERR! not found: make');
});

it('has the methods that its version stands for: raise the version where they change', () => {
  const found = findAddon();
  const surface = found.state === 'ready' ? Object.keys(found.addon).sort() : [];
  expect([ADDON_VERSION, ...surface]).toEqual([
    ...[
      11,
      'Decoder',
      'Encoder',
      'LatentDecoder',
      'abi',
      'augment',
      'augmentAsync',
      'centreLogits',
      'decodeRans',
      'decodeTokens',
      'dequantise',
      'encodeRans',
      'encodeTokens',
      'info',
      'labelCalls',
      'listTokens',
      'nearest',
    ],
    ...[
      'nearestAsync',
      'openModule',
      'pack',
      'project',
      'projectAsync',
      'quantise',
      'statusText',
      'unpack',
      'version',
    ],
  ]);
});

it('refuses an addon that was built from other sources, and takes one of this version beside it', () => {
  // Stands for the library: an addon says its version in its own text.
  const load = `
    import Module from 'node:module';
    import { readFileSync } from 'node:fs';
    Module._extensions['.node'] = (module, file) => {
      const text = readFileSync(file, 'utf8');
      const info = () => ({ isa: 'scalar', availableIsas: 'scalar', processors: 1 });
      module.exports = { info, ...JSON.parse(text) };
    };
    for (const backend of ['auto', 'cpu', 'reference']) {
      try { console.log(loadKernels({ backend }).name) } catch (error) { console.log(error.code, error.message) }
    }
    console.log(kernelStatus()[0].state)`;
  const write = (build: string, text: string) => {
    mkdirSync(path.join(bare, build, 'Release'), { recursive: true });
    writeFileSync(path.join(bare, build, 'Release/softpack.node'), text);
  };
  try {
    for (const old of ['{}', `{"version": ${ADDON_VERSION + 1}}`]) {
      write('build', old);
      const { stdout } = runBare(load);
      const found = old === '{}' ? 'unknown' : ADDON_VERSION + 1;
      const refusal = `^BACKEND_UNAVAILABLE.*version ${found}, expected ${ADDON_VERSION}.*build-addon\\.mjs`;
      const [auto, forced, reference, state] = stdout.trim().split('\n');
      expect(auto).toMatch(new RegExp(refusal));
      expect(forced).toBe(auto);
      expect([reference, state]).toEqual(['reference', 'stale']);
    }
    const { abi } = (findAddon() as { readonly addon: Addon }).addon;
    write('build-cmake', JSON.stringify({ version: ADDON_VERSION, abi }));
    expect(runBare(load).stdout.trim().split('\n')).toEqual(['cpu', 'cpu', 'reference', 'ready']);
  } finally {
    for (const build of ['build', 'build-cmake'])
      rmSync(path.join(bare, build), { recursive: true, force: true });
  }
});

it('lets SOFTPACK_BACKEND choose for auto', () => {
  const quiet = runBare('console.log(loadKernels().name)', { SOFTPACK_BACKEND: 'reference' });
  expect([quiet.stdout.trim(), quiet.stderr]).toEqual(['reference', '']);
  const forced = runBare('loadKernels()', { SOFTPACK_BACKEND: 'cpu' });
  expect(forced.status).toBe(1);
  expect(forced.stderr).toContain('BACKEND_UNAVAILABLE');
  const wrong = runBare('loadKernels()', { SOFTPACK_BACKEND: 'gpu' });
  expect(wrong.stderr).toContain('SOFTPACK_BACKEND: unknown backend');
});
