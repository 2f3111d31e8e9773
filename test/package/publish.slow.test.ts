import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ROOT } from './snippets.js';

// The package as it would be published, in a folder that holds nothing else.

const run = promisify(execFile);
const folder = await mkdtemp(join(tmpdir(), 'softpack-publish-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const tools = join(folder, 'tools');
let tarball = '';

/** Its standard output; a failure has both outputs in its message. */
async function output(command: string, args: readonly string[], cwd = folder): Promise<string> {
  try {
    return (await run(command, args, { cwd })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout: string; readonly stderr: string };
    throw new Error(`${command} ${args.join(' ')}: ${stdout}${stderr}`);
  }
}

const bin = (at: string, name: string) => join(at, 'node_modules/.bin', name);

beforeAll(async () => {
  await output('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], ROOT);
  const [name = ''] = (await readdir(folder)).filter((file) => file.endsWith('.tgz'));
  tarball = join(folder, name);
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix'];
  await output('npm', [...install, tools, 'publint@0.3', '@arethetypeswrong/cli@0.18']);
  await writeFile(join(folder, 'package.json'), '{ "type": "module", "private": true }');
  await output('npm', [...install, folder, tarball, 'typescript@5.9', '@types/node@20']);
}, 240_000);

it('pleases publint', async () => {
  expect(await output(bin(tools, 'publint'), [tarball, '--strict'])).toContain('All good!');
});

it('pleases attw as a package of ES modules', async () => {
  // It fails if it has found a problem.
  const args = [tarball, '--profile', 'esm-only', '--no-color', '--no-emoji'];
  expect(await output(bin(tools, 'attw'), args)).toContain('OK (ESM)');
});

const USE = `
import { createLoader, type LabelArchive, openArchive, SoftpackError } from 'softpack';

export async function firstLabels(path: string): Promise<Float32Array | undefined> {
  const archive: LabelArchive = await openArchive(path);
  const loader = createLoader({ archive, batchSize: 4 });
  for await (const { ys } of loader) return ys;
  throw new SoftpackError('NOT_FOUND', 'no labels');
}
`;

it.each([
  ['use.ts', 'node16', 'node16'],
  ['use.ts', 'esnext', 'bundler'],
  // CommonJS that requires ES modules, as Node.js 20.19, 22.12 and newer do.
  ['use.cts', 'nodenext', 'nodenext'],
])(
  'has types for %s, module %s, resolved by %s, without skipLibCheck',
  async (...how) => {
    const [file, module, moduleResolution] = how;
    await writeFile(join(folder, file), USE);
    const flags = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node'];
    const resolving = ['--module', module, '--moduleResolution', moduleResolution];
    await output(bin(folder, 'tsc'), [...flags, ...resolving, file]);
  },
  180_000,
);

it('runs its command, and says what the demo needs', async () => {
  const softpack = bin(folder, 'softpack');
  const { kernels, images } = JSON.parse(await output(softpack, ['doctor', '--json']));
  expect(kernels.at(-1)).toMatchObject({ name: 'reference', state: 'ready' });
  expect(images).toMatchObject([{ name: 'sharp', state: 'absent' }]);
  await expect(output(softpack, ['demo'])).rejects.toThrow('npm ci && npm run demo');
  const plan = ['plan', '--classes', '100', '--ipc', '10', '--epochs', '10', '--ratio', '40'];
  expect(await output(softpack, plan)).toContain('vqae');
});

it('holds documents, examples and changes, and neither tests nor maps without sources', async () => {
  const files = (await readdir(join(folder, 'node_modules/softpack'), { recursive: true })).map(
    (name) => name.replaceAll('\\', '/'),
  );
  for (const name of ['CHANGELOG.md', 'LICENSE', 'docs/report.png', 'examples/make-data.mjs']) {
    expect(files).toContain(name);
  }
  expect(
    files.filter((name) => /\.(?:js|ts)\.map$|\.tsbuildinfo$|^(?:src|test)\//.test(name)),
  ).toEqual([]);
});
