import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { createProgram } from '#src/cli/run.js';
import { documents, linksOf, programOf, ROOT, type Snippet, snippets } from './snippets.js';

const all = snippets();
const programs = all.filter(({ language }) => /^(?:js|ts)$/.test(language));

/** Errors of strict TypeScript, as users of the package see them, by the place of the snippet. */
function errorsOf(typed: readonly Snippet[]): readonly string[] {
  const options: ts.CompilerOptions = {
    ...{ module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
    ...{ target: ts.ScriptTarget.ES2023, lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'] },
    ...{ strict: true, noEmit: true, skipLibCheck: true, types: ['node'] },
  };
  const host = ts.createCompilerHost(options);
  const files = new Map(typed.map((one, i) => [join(ROOT, `snippet-${i}.ts`), one]));
  const { fileExists, readFile, getSourceFile } = host;
  const textOf = (name: string) => {
    const one = files.get(name);
    return one && programOf(one);
  };
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => textOf(name) ?? readFile(name);
  host.getSourceFile = (name, target) => {
    const text = textOf(name);
    return text === undefined
      ? getSourceFile(name, target)
      : ts.createSourceFile(name, text, target);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    const at = files.get(file?.fileName ?? '')?.at;
    return `${at}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

it('finds the programs of README.md and of docs/', () => {
  expect(programs.length).toBeGreaterThan(12);
  expect(all.filter(({ language }) => language === 'sh').length).toBeGreaterThan(25);
});

it('are strict TypeScript', () => {
  expect(errorsOf(programs.filter(({ language }) => language === 'ts'))).toEqual([]);
});

it('are JavaScript that Node.js 20 runs, where they say so', () => {
  for (const one of programs.filter(({ language }) => language === 'js')) {
    const file = ts.createSourceFile('a.js', one.text, ts.ScriptTarget.ES2023, true);
    const visit = (node: ts.Node): void => {
      const using = ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.Using) !== 0;
      expect(using, `${one.at}: using`).toBe(false);
      ts.forEachChild(node, visit);
    };
    visit(file);
    const { diagnostics } = ts.transpileModule(one.text, {
      fileName: 'a.js',
      compilerOptions: { allowJs: true },
      reportDiagnostics: true,
    });
    expect(diagnostics, one.at).toEqual([]);
  }
});

/** Arguments of softpack's commands among lines of a shell. */
function commandsOf({ text }: Snippet): readonly (readonly string[])[] {
  const lines = text.replaceAll('\\\n', ' ').split('\n');
  return lines.flatMap((line) => {
    const [, words] = /^(?:npx )?softpack (.*?)\s*(?:#.*)?$/.exec(line) ?? [];
    return words === undefined ? [] : [words.split(/\s+/)];
  });
}

it('are commands that softpack has, with options that it takes', async () => {
  const io = { write: () => true };
  const program = await createProgram({ stdout: io, stderr: io, signal: AbortSignal.abort() });
  const quiet = (command: Command): void => {
    const isGroup = command.parent === null || command.options.length === 0;
    if (command.commands.length === 0 || !isGroup) command.action(() => undefined);
    command.exitOverride().configureOutput({ writeErr: () => undefined });
    command.commands.forEach(quiet);
  };
  quiet(program);
  const commands = all
    .filter(({ language }) => language === 'sh')
    .flatMap((one) => commandsOf(one).map((words) => ({ at: one.at, words })));
  expect(commands.length).toBeGreaterThan(40);
  for (const { at, words } of commands) {
    const failure = await program.parseAsync(words, { from: 'user' }).then(
      () => undefined,
      (error: Error) => `${at}: ${words.join(' ')}: ${error.message}`,
    );
    expect(failure).toBeUndefined();
  }
});

it('link to files and headings that are there', () => {
  const broken = documents().flatMap((document) => {
    return linksOf(readFileSync(join(ROOT, document), 'utf8'))
      .filter((link) => !/^https?:/.test(link) && !isThere(document, link))
      .map((link) => `${document}: ${link}`);
  });
  expect(broken).toEqual([]);
});

function isThere(document: string, link: string): boolean {
  const [path, heading] = link.split('#');
  const target = path === '' ? join(ROOT, document) : join(ROOT, dirname(document), path);
  if (!existsSync(target)) return false;
  if (heading === undefined) return true;
  const headings = [...readFileSync(target, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
  return headings.includes(heading);
}
