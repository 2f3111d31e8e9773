import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { CodecDescriptor, CodecParameter } from '#src/codecs/descriptor.js';
import { CODECS } from '#src/codecs/registry.js';

/**
 * The parts of docs/codecs.md that follow from the codecs' descriptors: the table, and the decoder in NumPy.
 * `node dist/apps/docs/codec-docs.js` rewrites them.
 */

export const CODECS_PAGE = fileURLToPath(new URL('../../../docs/codecs.md', import.meta.url));

/** The page with its generated parts updated. */
export function withCodecDocs(page: string): string {
  const parts = { table: codecTable(), numpy: `\`\`\`python\n${numpyDecoder()}\`\`\`\n` };
  return Object.entries(parts).reduce((text, [name, part]) => replacePart(text, name, part), page);
}

function replacePart(page: string, name: string, part: string): string {
  const [begin, end] = [`<!-- generated: ${name} -->\n`, `<!-- end: ${name} -->`];
  const from = page.indexOf(begin) + begin.length;
  const to = page.indexOf(end);
  if (from < begin.length || to < from) throw new Error(`docs/codecs.md lacks ${begin}`);
  return `${page.slice(0, from)}${part}${page.slice(to)}`;
}

function codecTable(): string {
  const rows = CODECS.descriptors.map(({ name, docs, parameters }) => [
    `\`${name}\``,
    docs.label,
    docs.bits,
    parameters.map(parameterWords).join(', '),
    docs.besides,
  ]);
  const head = ['name', 'a label is', 'bits per label', 'parameters', 'kept besides (bytes)'];
  const widths = head.map((cell, i) => Math.max(cell.length, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |\n`;
  return [head, widths.map((width) => '-'.repeat(width)), ...rows].map(line).join('');
}

function parameterWords({ name, libraryOnly }: CodecParameter): string {
  return `\`${name}\`${libraryOnly ? ' (library only)' : ''}`;
}

const HELPERS = `import numpy as np

def fields(row, n, *widths):
    """The bit fields of each label: uint64 [n, len(widths)]."""
    bits = np.unpackbits(row, bitorder='little')[: n * sum(widths)].reshape(n, -1)
    edges = np.cumsum([0, *widths])
    return np.stack([bits[:, a:b] @ (1 << np.arange(b - a, dtype=np.uint64)) for a, b in zip(edges, edges[1:])], 1)

def half(x):
    return x.astype(np.uint16).view(np.float16).astype(np.float64)

def softmax(z, tau):
    e = np.exp((z - z.max(1, keepdims=True)) / tau)
    return e / e.sum(1, keepdims=True)

def clamp(v, eps):
    v = np.maximum(v, eps)
    return v / v.sum(1, keepdims=True)

def decode(name, row, n, c, t):
    C = c['classes']
`;

/** A Python module whose `decode` knows every codec that has codes. */
export function numpyDecoder(): string {
  const bodies = new Set(CODECS.descriptors.flatMap(({ docs }) => docs.numpy ?? []));
  const branches = [...bodies].map((body) => {
    const names = CODECS.descriptors.filter(({ docs }) => docs.numpy === body);
    return `    ${conditionFor(names)}:\n${indented(body)}\n`;
  });
  return `${HELPERS}${branches.join('')}    raise ValueError(name)\n`;
}

function conditionFor(descriptors: readonly CodecDescriptor[]): string {
  const names = descriptors.map(({ name }) => `'${name}'`);
  return names.length === 1 ? `if name == ${names[0]}` : `if name in (${names.join(', ')})`;
}

function indented(body: string): string {
  return body
    .split('\n')
    .map((line) => `        ${line}`)
    .join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(CODECS_PAGE, withCodecDocs(await readFile(CODECS_PAGE, 'utf8')));
}
