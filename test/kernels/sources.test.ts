import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const groups = JSON.parse(readFileSync(path.join(root, 'native/sources.json'), 'utf8')) as Record<
  string,
  string[]
>;
const listed = Object.values(groups).flat();

const sourcesIn = (folder: string) =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => `${folder}/${file.replaceAll(path.sep, '/')}`)
    .filter((file) => /\.(cc|cu)$/.test(file));

it('lists every C++ and CUDA source once, and no other file', () => {
  const present = [...sourcesIn('native'), ...sourcesIn('test/native')];
  expect(present.length).toBeGreaterThan(10);
  expect([...listed].sort()).toEqual(present.sort());
  for (const file of listed) expect(existsSync(path.join(root, file))).toBe(true);
});

it.each(['scripts/compile-addon.mjs', 'native/windows.gyp', 'CMakeLists.txt'])(
  'is the list that %s reads',
  (build) => {
    const text = readFileSync(path.join(root, build), 'utf8');
    expect(text).toContain('native/sources.json');
    for (const file of listed) expect(text).not.toContain(path.basename(file));
  },
);
