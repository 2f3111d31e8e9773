import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { BUILD_TIMEOUT, cached, missingTools, root, run } from '../cuda/build.js';
import { temporaryDirectory } from '../temporary.js';

/** The folder of Node.js' own headers; undefined if this installation has none. */
function nodeHeaders(): string | undefined {
  const prefix = path.dirname(path.dirname(process.execPath));
  const folders = [path.join(prefix, 'include/node'), '/usr/include/node'];
  return folders.find((folder) => existsSync(path.join(folder, 'node_api.h')));
}

/** Sanitizers are part of the compiler; without a shared one there is nothing to load into Node.js. */
function sanitizerLibrary(): string | undefined {
  const { stdout } = spawnSync('c++', ['-print-file-name=libasan.so'], { encoding: 'utf8' });
  const file = (stdout ?? '').trim();
  return path.isAbsolute(file) && existsSync(file) ? file : undefined;
}

function lackingHere(): string | undefined {
  const tools = missingTools();
  if (tools !== undefined) return tools;
  if (nodeHeaders() === undefined) return 'this Node.js has no headers';
  return sanitizerLibrary() === undefined ? 'this compiler has no shared libasan' : undefined;
}

const ISAS = ['scalar', 'avx2', 'avx512'];
const lacking = lackingHere();
if (lacking !== undefined) console.log(`skipped: the addon under sanitizers (${lacking})`);

function buildAddon(out: string): void {
  const build = path.join(out, 'build');
  const headers = `-DCMAKE_JS_INC=${nodeHeaders()}`;
  const sanitize = '-DSOFTPACK_SANITIZE=address,undefined';
  run('cmake', ['-S', root, '-B', build, headers, sanitize]);
  run('cmake', ['--build', build, '--target', 'softpack_addon', '--parallel', '2']);
  cpSync(path.join(build, 'softpack.node'), path.join(out, 'softpack.node'));
}

describe.skipIf(lacking !== undefined)('the addon under AddressSanitizer and UBSan', () => {
  let home = '';
  const addon = () => path.join(home, 'build/Release/softpack.node');

  beforeAll(async () => {
    const sources = ['native', 'CMakeLists.txt'];
    const built = cached('addon-address-undefined', sources, buildAddon);
    // The package as it is, with this addon in place of its own.
    home = (await temporaryDirectory()).path('package');
    mkdirSync(path.join(home, 'build/Release'), { recursive: true });
    for (const name of ['dist', 'package.json', 'test/kernels']) {
      cpSync(path.join(root, name), path.join(home, name), { recursive: true });
    }
    const modules = createRequire(import.meta.url).resolve('fast-check/package.json');
    symlinkSync(path.dirname(path.dirname(modules)), path.join(home, 'node_modules'));
    cpSync(path.join(built, 'softpack.node'), addon());
  }, BUILD_TIMEOUT);

  function runSanitized(script: string, args: readonly string[], isa = ''): string {
    return execFileSync(process.execPath, [path.join(home, 'test/kernels', script), ...args], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      env: {
        ...process.env,
        LD_PRELOAD: sanitizerLibrary(),
        // Node.js frees little when it ends, and gives huge sizes to malloc on purpose.
        ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1:abort_on_error=1',
        UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
        SOFTPACK_ISA: isa,
      },
    });
  }

  it('is loaded with its sanitizer', () => {
    expect(execFileSync('ldd', [addon()], { encoding: 'utf8' })).toMatch(/libasan.*libubsan/s);
  });

  for (const isa of [...ISAS, '']) {
    it(`runs every kernel without a report (${isa || 'the best instruction set'})`, (context) => {
      const { availableIsas } = (
        createRequire(import.meta.url)('../../build/Release/softpack.node') as {
          info: () => { availableIsas: string };
        }
      ).info();
      if (isa !== '' && !availableIsas.split(' ').includes(isa)) {
        context.skip(`this processor has no ${isa}, only: ${availableIsas}`);
      }
      const best = availableIsas.split(' ').at(-1) ?? '';
      if (isa === '' && ISAS.includes(best)) context.skip(`the best is ${best}, which has run`);
      const { digests } = JSON.parse(runSanitized('isa-digests.mjs', [], isa));
      expect(Object.keys(digests).length).toBeGreaterThan(100);
    }, 300_000);
  }

  it('takes hostile calls without a report', () => {
    const outcomes = JSON.parse(runSanitized('fuzz-addon.mjs', [addon(), '20000', '2']));
    expect(Object.keys(outcomes).length).toBe(34);
  }, 300_000);

  it('works in several threads without a report', () => {
    expect(runSanitized('worker-storm.mjs', [])).not.toBe('');
  }, 300_000);
});
