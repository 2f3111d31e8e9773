import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { unsetForRelease } from '../../scripts/release-check.mjs';

const json = (file: string) =>
  JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));

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
  const workflow = readFileSync(
    new URL('../../.github/workflows/release.yml', import.meta.url),
    'utf8',
  );
  const jobs = workflow
    .slice(workflow.indexOf('jobs:'))
    .split(/^ {2}(?=\w+:$)/m)
    .slice(1);
  expect(jobs[0]).toContain('run: node scripts/release-check.mjs');
  for (const job of jobs.slice(1)) expect(job).toMatch(/^ {4}needs: /m);
});
