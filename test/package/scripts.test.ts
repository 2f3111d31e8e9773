import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

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
