import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { unsetForRelease } from '../../scripts/release-check.mjs';
import { temporaryDirectory } from '../temporary.js';
import { ROOT } from './snippets.js';

const temporary = await temporaryDirectory();
const json = (file: string) => JSON.parse(readFileSync(join(ROOT, file), 'utf8'));

function runScript(file: string, env: NodeJS.ProcessEnv = {}) {
  const options = { encoding: 'utf8', env: { ...process.env, ...env } } as const;
  return spawnSync(process.execPath, [file], options);
}

it('runs no install script that downloads', () => {
  // onnxruntime-node's would fetch CUDA libraries from another host. npm 10 and later run the scripts of a package that the
  // lock file says has some: after `npm install` changed the lock file, remove that line again. npm 11 asks allowScripts.
  const { packages } = json('package-lock.json') as {
    packages: Record<string, { version: string; hasInstallScript?: boolean }>;
  };
  expect(packages['node_modules/onnxruntime-node']).toMatchObject({ version: '1.30.0' });
  expect(packages['node_modules/onnxruntime-node'].hasInstallScript).toBeUndefined();
  expect(json('package.json').allowScripts).toEqual({ 'onnxruntime-node': false });
});

it('publishes nothing that does not say where its sources and issues are', () => {
  const complete = {
    repository: { type: 'git', url: 'git+https://example.org/softpack.git' },
    homepage: 'https://example.org/softpack#readme',
    bugs: { url: 'https://example.org/softpack/issues' },
  };
  expect(unsetForRelease(complete)).toEqual([]);
  expect(unsetForRelease({})).toEqual(['repository', 'homepage', 'bugs']);
  expect(unsetForRelease({ ...complete, bugs: '', homepage: 'http://localhost' })).toEqual([
    'homepage',
    'bugs',
  ]);
  // Every way to publish asks first.
  expect(json('package.json').scripts.prepublishOnly).toBe('node scripts/release-check.mjs');
  const workflow = readFileSync(join(ROOT, '.github/workflows/release.yml'), 'utf8');
  const jobs = workflow
    .slice(workflow.indexOf('jobs:'))
    .split(/^ {2}(?=\w+:$)/m)
    .slice(1);
  expect(jobs[0]).toContain('run: node scripts/release-check.mjs');
  for (const job of jobs.slice(1)) expect(job).toMatch(/^ {4}needs: /m);
});

it('refuses a release from a checkout behind a link too', async () => {
  await cp(join(ROOT, 'scripts/release-check.mjs'), temporary.path('checkout/scripts/check.mjs'));
  await temporary.file('checkout/package.json', '{}');
  await symlink(temporary.path('checkout'), temporary.path('link'));
  for (const name of ['checkout', 'link']) {
    const { status, stderr } = runScript(temporary.path(`${name}/scripts/check.mjs`));
    expect([name, status]).toEqual([name, 1]);
    expect(stderr).toContain('repository, homepage, bugs');
  }
});

it('says why the addon was not built, where no log can be written too', async ({ skip }) => {
  if (process.platform === 'win32') skip('Windows builds it by node-gyp');
  for (const name of ['scripts', 'native/sources.json']) {
    await cp(join(ROOT, name), temporary.path(`unbuilt/${name}`), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), temporary.path('unbuilt/node_modules'));
  await mkdir(temporary.path('unbuilt/build-addon.log'));
  const env = { CXX: '/nowhere/c++', SOFTPACK_REQUIRE_ADDON: '1' };
  const { status, stderr } = runScript(temporary.path('unbuilt/scripts/build-addon.mjs'), env);
  expect(status).toBe(1);
  expect(stderr).toContain('no compiler: spawn /nowhere/c++ ENOENT');
  expect(stderr).toContain('No log was written: EISDIR');
});
