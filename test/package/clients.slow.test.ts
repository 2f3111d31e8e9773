import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The package as its users get it, through the real installers. npm 12, pnpm and yarn 4 run no script of a package unless asked.

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const target = `${process.platform}-${process.arch}`;
const installs = await mkdtemp(join(tmpdir(), 'softpack-clients-'));
afterAll(() => rm(installs, { recursive: true, force: true }));

interface Client {
  readonly name: string;
  readonly packages: readonly string[];
  /** Script of the installer, in its node_modules. */
  readonly script: string;
  /** Before the name of a package's command. */
  readonly exec: readonly string[];
  /** Newer than the oldest Node.js of softpack. */
  readonly node?: string;
}

const CLIENTS: readonly Client[] = [
  {
    ...{ name: 'npm 12', packages: ['npm@12', `node-${target}@24`], script: 'npm/bin/npm-cli.js' },
    ...{ exec: ['exec', '--'], node: `node-${target}/bin/node` },
  },
  { name: 'pnpm 10', packages: ['pnpm@10'], script: 'pnpm/bin/pnpm.cjs', exec: ['exec'] },
  { name: 'yarn 1', packages: ['yarn@1'], script: 'yarn/bin/yarn.js', exec: ['-s', 'run'] },
  {
    ...{ name: 'yarn 4', packages: ['@yarnpkg/cli-dist@4'], exec: ['run'] },
    script: '@yarnpkg/cli-dist/bin/yarn.js',
  },
];

const tarballs: Record<string, string> = {};
let problem: string | undefined;

beforeAll(async () => {
  if (target !== 'linux-x64') {
    problem = `packages of installers are made for linux-x64 here, not ${target}`;
    return;
  }
  const packages = join(installs, 'packages');
  const addon = join(root, 'build/Release/softpack.node');
  await run('node', ['scripts/platform-package.mjs', target, '--out', packages, '--addon', addon], {
    cwd: root,
  });
  for (const folder of [root, join(packages, target)]) {
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', installs], { cwd: folder });
  }
  for (const file of (await readdir(installs)).filter((name) => name.endsWith('.tgz'))) {
    const name = file.startsWith(`softpack-${target}`) ? `@softpack/${target}` : 'softpack';
    tarballs[name] = `file:${join(installs, file)}`;
  }
});

/** A project that depends on `dependencies`, installed by a client; runs the commands of its packages. */
async function install(client: Client, dependencies: Record<string, string>) {
  const tools = join(installs, client.name);
  await mkdir(tools, { recursive: true });
  const from = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', tools];
  await run('npm', [...from, ...client.packages], { cwd: tools });
  const modules = join(tools, 'node_modules');
  const node = client.node === undefined ? process.execPath : join(modules, client.node);
  const cwd = join(installs, `project-${client.name}-${Object.keys(dependencies).length}`);
  await mkdir(cwd, { recursive: true });
  const manifest = { name: 'project', version: '1.0.0', private: true, dependencies };
  await writeFile(join(cwd, 'package.json'), JSON.stringify(manifest));
  await writeFile(join(cwd, 'yarn.lock'), ''); // Its own project, whatever lies in folders above.
  const registry = (await run('npm', ['config', 'get', 'registry'])).stdout.trim();
  const env = {
    ...{ ...process.env, HOME: tools, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` },
    ...{ npm_config_registry: registry, YARN_NPM_REGISTRY_SERVER: registry },
    ...{ YARN_ENABLE_TELEMETRY: '0', YARN_ENABLE_IMMUTABLE_INSTALLS: 'false', CI: '' },
  };
  const call = (...args: readonly string[]) =>
    run(node, [join(modules, client.script), ...args], { cwd, env });
  await call('install');
  return { call, command: (...args: readonly string[]) => call(...client.exec, ...args) };
}

async function cpuOf(doctor: Promise<{ readonly stdout: string }>) {
  const { stdout } = await doctor;
  const { kernels } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    kernels: readonly { readonly state: string; readonly reason: string }[];
  };
  return kernels[0];
}

const DECODE = `
import { writeFile } from 'node:fs/promises';
import { createLoader, openArchive, packLogits } from 'softpack';

const shape = [2, 100, 10];
const values = Float32Array.from({ length: 2000 }, (_, i) => Math.sin(i));
const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 100, 10)}".padEnd(117) + '\\n';
const magic = Buffer.from('93 4e 55 4d 50 59 01 00 76 00'.replaceAll(' ', ''), 'hex');
await writeFile('logits.npy', Buffer.concat([magic, Buffer.from(header), Buffer.from(values.buffer)]));
await packLogits({ source: 'logits.npy', out: 'labels', codec: { name: 'topk', k: 3 } });
const archive = await openArchive('labels');
const loader = createLoader({ archive, batchSize: 50, seed: 1, workers: 1 });
let labels = 0;
for await (const { ys } of loader) labels += ys.length / 10;
await loader[Symbol.asyncDispose]();
await archive[Symbol.asyncDispose]();
console.log(labels, 'labels');
`;

describe.each(CLIENTS)('$name', (client) => {
  it('installs an addon and runs a script without building', async ({ skip }) => {
    if (problem !== undefined) skip(problem);
    const project = await install(client, tarballs);
    expect(await cpuOf(project.command('softpack', 'doctor', '--json'))).toMatchObject({
      state: 'ready',
    });
    const folder = join(installs, `project-${client.name}-2`);
    await writeFile(join(folder, 'decode.mjs'), DECODE);
    const { stdout } =
      client.name === 'yarn 4'
        ? await project.call('node', 'decode.mjs')
        : await run('node', ['decode.mjs'], { cwd: folder });
    expect(stdout).toBe('200 labels\n');
  });
});

it('without the package of the platform, a blocked install script is told with what to type', async ({
  skip,
}) => {
  if (problem !== undefined) skip(problem);
  const [, pnpm] = CLIENTS;
  const { softpack = '' } = tarballs;
  const project = await install(pnpm as Client, { softpack });
  const cpu = await cpuOf(project.command('softpack', 'doctor', '--json'));
  expect(cpu).toMatchObject({ state: 'absent' });
  expect(cpu?.reason).toContain('npx softpack doctor --build');
  // The size of what decoding needs, all files of all packages.
  const { stdout } = await run('du', ['-sk', join(installs, 'project-pnpm 10-1')]);
  expect(Number.parseInt(stdout, 10)).toBeLessThan(15_000);
});
