import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** From the bottom up: a folder imports itself and those before it. */
const LAYERS = [
  'core',
  'store',
  'container',
  'kernels',
  'labels',
  'codecs',
  'augment',
  'images',
  'archive',
  'tokens',
  'nn',
  'training',
  'pipeline',
  'loader',
  'interop',
  'synthesis',
  'planner',
  'report',
  'cli',
];
/** Pairs that the order allows but the design does not: an archive stores any codec's parts, and any kind of images. */
const STRANGERS: Readonly<Record<string, readonly string[]>> = {
  archive: ['codecs', 'images', 'kernels'],
};

const root = fileURLToPath(new URL('../', import.meta.url));

interface Import {
  readonly from: string;
  readonly to: string;
}

const sources = (folder: string): readonly string[] =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => `${folder}/${file.replaceAll(path.sep, '/')}`);

/** Static and dynamic imports, of types too, of files of this repository. */
function importsOf(file: string): readonly Import[] {
  const text = readFileSync(path.join(root, file), 'utf8');
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*['"]([.#][^'"]+)['"]/g)];
  return specifiers.map(([, specifier]) => ({
    from: file,
    to: specifier.startsWith('#')
      ? specifier.slice(1).replace(/\.js$/, '.ts')
      : path.posix.join(path.posix.dirname(file), specifier).replace(/\.js$/, '.ts'),
  }));
}

const layerOf = (file: string) => (file.split('/').length > 2 ? file.split('/')[1] : undefined);

const files = sources('src');
const imports = files.flatMap(importsOf);

it('reads the imports of every file', () => {
  expect(imports.length).toBeGreaterThan(500);
  const folders = new Set(files.map(layerOf));
  folders.delete(undefined);
  expect([...folders].filter((folder) => !LAYERS.includes(folder ?? ''))).toEqual([]);
  const missing = imports.filter(({ to }) => !files.includes(to));
  expect(missing).toEqual([]);
});

it('imports downward only', () => {
  const upward = imports.filter(({ from, to }) => {
    const [a, b] = [layerOf(from), layerOf(to)];
    // The entry files of the package stand above all layers; nothing but them may name each other.
    if (a === undefined) return false;
    if (b === undefined) return to !== 'src/errors.ts';
    return LAYERS.indexOf(b) > LAYERS.indexOf(a) || STRANGERS[a]?.includes(b);
  });
  expect(upward).toEqual([]);
});

it('has no circles among files', () => {
  const edges = new Map<string, readonly string[]>();
  for (const { from, to } of imports) edges.set(from, [...(edges.get(from) ?? []), to]);
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) {
      circles.push([...way.slice(way.indexOf(file)), file].join(' -> '));
      return;
    }
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...way, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  expect(circles).toEqual([]);
});

it('keeps applications out of the library', () => {
  expect(imports.filter(({ to }) => to.startsWith('apps/'))).toEqual([]);
  const text = files.map((file) => readFileSync(path.join(root, file), 'utf8'));
  expect(text.filter((source) => /from '(vega|vega-lite|@twemoji)/.test(source))).toEqual([]);
});
