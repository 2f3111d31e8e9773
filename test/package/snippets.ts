import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Programs and commands that the documents print, for the tests to compile and run. */

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Snippet {
  /** File and line of its fence, e.g. `docs/loader.md:128`. */
  readonly at: string;
  readonly language: string;
  readonly text: string;
  /** Files of test/package/preludes whose lines come before it, without their extension. */
  readonly preludes: readonly string[];
  /** Why it is compiled but not run; undefined if it is run. */
  readonly notRun?: string;
}

/** README and all documents. */
export const documents = (): readonly string[] => [
  'README.md',
  'examples/README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/**
 * All fenced blocks. A comment on the line before one says what readers know from the text around it:
 *
 * - `<!-- after: model, loader -->`: declarations of these preludes, or `<!-- after: docs/x.md#1 -->`: the first block there
 * - `<!-- not run: reason -->`
 */
export function snippets(): readonly Snippet[] {
  return documents().flatMap((document) => snippetsOf(document));
}

function snippetsOf(document: string): readonly Snippet[] {
  const text = readFileSync(join(ROOT, document), 'utf8');
  const found: Snippet[] = [];
  const fence = /^((?:<!--[^\n]*-->\n)*)```([a-z]+)\n(.*?)^```$/gms;
  for (const { 1: comments, 2: language, 3: body, index } of text.matchAll(fence)) {
    const line = text.slice(0, index + comments.length).split('\n').length;
    const [, after] = /<!-- after: (.*?) -->/.exec(comments) ?? [];
    const [, notRun] = /<!-- not run: (.*?) -->/.exec(comments) ?? [];
    found.push({
      ...{ at: `${document}:${line}`, language, text: body, notRun },
      preludes: after?.split(', ') ?? [],
    });
  }
  return found;
}

/** A whole program: declarations that readers know, then the snippet. */
export function programOf({ preludes, text }: Snippet): string {
  const before = preludes.map((name) =>
    readFileSync(join(ROOT, 'test/package/preludes', `${name}.txt`), 'utf8'),
  );
  return `${[...before, text].join('\n')}\nexport {};\n`;
}

/** Addresses of links and pictures of a document, outside its programs. */
export function linksOf(text: string): readonly string[] {
  const prose = text.replaceAll(/```.*?```/gs, '');
  return Array.from(prose.matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => link);
}
