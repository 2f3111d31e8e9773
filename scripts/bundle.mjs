// Bundles the compiled modules of dist/ into lib/, which programs import: node scripts/bundle.mjs
// Most of the time that an import of hundreds of small files takes goes into finding them.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What is imported or started by its path; src/core/package-files.ts finds the last three. */
const ENTRIES = [
  ...['index', 'nn', 'cli/main'],
  ...['loader/worker', 'pipeline/label-worker', 'nn/tensorflow-install/verify-process'],
];

const bundle = await rolldown({
  cwd: root,
  input: Object.fromEntries(ENTRIES.map((name) => [name, join('dist', `${name}.js`)])),
  platform: 'node',
  external: (id) => !/^(?:[./]|[a-z]:)/i.test(id),
  logLevel: 'warn',
});
await rm(join(root, 'lib'), { recursive: true, force: true });
await bundle.write({
  dir: join(root, 'lib'),
  format: 'esm',
  chunkFileNames: 'chunks/[name]-[hash].js',
});
await bundle.close();
