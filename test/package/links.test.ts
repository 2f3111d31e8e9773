import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from './snippets.js';

// Links of documents must lead somewhere in the repository, and those of the package's documents to files of the package.

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
const documents = [...listed('.', false), ...listed('docs', true), ...listed('python', false)];

/** Addresses of links and pictures outside code, without titles. */
function linksOf(text: string): readonly string[] {
  const prose = text.replace(/^( *)```[\s\S]*?^\1```/gm, '').replace(/`[^`\n]*`/g, '');
  return Array.from(prose.matchAll(/\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g), ([, to]) => to);
}

/** Names of a document's headings in links, as Markdown viewers make them. */
function anchorsOf(file: string): readonly string[] {
  const text = readFileSync(path.join(ROOT, file), 'utf8').replace(/^```[\s\S]*?^```/gm, '');
  return [...text.matchAll(/^#+ +(.*)$/gm)].map(([, heading]) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  );
}

function problemsOf(file: string): readonly string[] {
  const text = readFileSync(path.join(ROOT, file), 'utf8');
  return linksOf(text).flatMap((link) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [to = '', anchor] = link.split('#');
    const target = to === '' ? file : path.posix.join(path.posix.dirname(file), decodeURI(to));
    if (!existsSync(path.join(ROOT, target))) return [`${file}: no ${link}`];
    if (isPacked(file) && !isPacked(target)) return [`${file}: ${link} is not in the package`];
    if (anchor === undefined || !target.endsWith('.md')) return [];
    return anchorsOf(target).includes(anchor) ? [] : [`${file}: ${link} names no heading`];
  });
}

it('leads nowhere from no document, of the repository and of the package', () => {
  const packed = documents.filter(isPacked);
  expect(packed).toEqual(expect.arrayContaining(['README.md', 'docs/results/README.md']));
  expect(packed).not.toContain('python/README.md');
  // The pictures of the first page are links too.
  expect(linksOf('a [![b](c.svg)](d.md#e), `[f](g)`')).toEqual(['c.svg', 'd.md#e']);
  expect(documents.flatMap(problemsOf)).toEqual([]);
});
