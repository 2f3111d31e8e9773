import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { linksOf, ROOT } from './snippets.js';

// Links of the package's documents lead to files of the package; that they lead anywhere, another test holds.

const { files } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  files: readonly string[];
};
const ALWAYS = ['README.md', 'LICENSE', 'package.json'];
const PACKED = files
  .filter((pattern) => !pattern.startsWith('!'))
  .map((pattern) => {
    const text = pattern
      .replace(/[.]/g, '\\.')
      .replaceAll('**/', '(?:.+/)?')
      .replace(/\*/g, '[^/]*');
    return new RegExp(`^${text}(?:/|$)`);
  });
const isPacked = (file: string) =>
  ALWAYS.includes(file) || PACKED.some((pattern) => pattern.test(file));

const listed = (folder: string, recursive: boolean) =>
  readdirSync(path.join(ROOT, folder), { recursive, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.posix.join(folder, name.replaceAll(path.sep, '/')));

it('stays inside the package', () => {
  const packed = [...listed('.', false), ...listed('docs', true), ...listed('python', false)];
  const documents = packed.filter(isPacked);
  expect(documents).toEqual(expect.arrayContaining(['README.md', 'docs/results/README.md']));
  expect(documents).not.toContain('python/README.md');
  // The pictures of the first page are links too.
  expect(linksOf('a [![b](c.svg)](d.md#e)')).toEqual(['c.svg', 'd.md#e']);
  const outside = documents.flatMap((file) =>
    linksOf(readFileSync(path.join(ROOT, file), 'utf8'))
      .map((link) => link.split('#')[0])
      .filter((to) => to !== '' && !/^[a-z]+:/.test(to))
      .filter((to) => !isPacked(path.posix.join(path.posix.dirname(file), decodeURI(to))))
      .map((to) => `${file}: ${to}`),
  );
  expect(outside).toEqual([]);
});
