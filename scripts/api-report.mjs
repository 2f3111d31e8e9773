// The public surface of the package: node scripts/api-report.mjs [--write]
// Compares docs/api/*.api.md, and the names of the reference next to it (docs/api/*.md, with all comments), with what
// dist/*.d.ts export, and fails if a signature uses a type that is not exported.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const ENTRIES = { softpack: 'dist/index.d.ts', 'softpack-nn': 'dist/nn.d.ts' };

const files = Object.values(ENTRIES).map((entry) => resolve(ROOT, entry));
const program = ts.createProgram(files, {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  strict: true,
  skipLibCheck: true,
});
const checker = program.getTypeChecker();
const printer = ts.createPrinter({ removeComments: true });
const commenting = ts.createPrinter({ removeComments: false });

const surfaces = new Map(
  Object.entries(ENTRIES).map(([name, entry]) => [name, exportsOf(resolve(ROOT, entry))]),
);
const exported = new Set([...surfaces.values()].flatMap((symbols) => [...symbols.values()]));
const forgotten = forgottenTypes();
for (const line of forgotten) console.error(line);
let failed = forgotten.length > 0;
for (const [name, symbols] of surfaces) {
  const surface = join(ROOT, 'docs', 'api', `${name}.api.md`);
  const whole = join(ROOT, 'docs', 'api', `${name}.md`);
  const text = report(name, symbols);
  if (process.argv.includes('--write')) {
    writeFileSync(surface, text);
    writeFileSync(whole, reference(name, symbols));
    continue;
  }
  // Comments of the reference may be older; what it lists may not.
  const listed = [...readOr(whole, '').matchAll(/^## (\w+)$/gm)].map(
    ([, listedName]) => listedName,
  );
  if (text === readOr(surface, '') && String(listed) === String([...symbols.keys()])) continue;
  console.error(`docs/api/${name}*.md: the public surface has changed; npm run api records it`);
  failed = true;
}
process.exitCode = failed ? 1 : 0;

/** Exported names of a module, in order, with the symbols they stand for. */
function exportsOf(file) {
  const source = program.getSourceFile(file);
  if (source === undefined) throw new Error(`${file} is missing: npm run build`);
  const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(source));
  const named = symbols.map((symbol) => [symbol.name, resolved(symbol)]);
  return new Map(named.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function resolved(symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

function isOurs(declaration) {
  return declaration.getSourceFile().fileName.startsWith(DIST.replaceAll(sep, '/'));
}

function report(name, symbols) {
  const blocks = blocksOf(symbols, '###', printer);
  const title = `# ${name}: public surface\n\nWritten by \`npm run api\`; \`npm run check\` compares it.\n`;
  return `${title}\n${blocks.join('\n')}`;
}

/** What users look up: the declaration of each name with its comments, behind an index. */
function reference(name, symbols) {
  const title = `# ${name.replace('-', '/')}: reference\n\nWritten by \`npm run api\` from the sources.\n`;
  const kinds = new Map();
  for (const [exportName, symbol] of symbols) {
    const kind = kindOf(symbol);
    kinds.set(kind, [...(kinds.get(kind) ?? []), `[${exportName}](#${exportName.toLowerCase()})`]);
  }
  const index = ['Functions', 'Classes', 'Constants', 'Types'].flatMap((kind) =>
    kinds.has(kind) ? [`**${kind}**: ${kinds.get(kind).join(', ')}\n`] : [],
  );
  const blocks = blocksOf(symbols, '##', commenting);
  return `${title}\n${index.join('\n')}\n${blocks.join('\n')}`;
}

/** The declarations of every name under a heading of its own. */
function blocksOf(symbols, heading, writer) {
  return [...symbols].map(([exportName, symbol]) => {
    const text = (symbol.declarations ?? []).map((declaration) =>
      isComputed(declaration) ? expanded(symbol) : printed(statementOf(declaration), writer),
    );
    return `${heading} ${exportName}\n\n\`\`\`ts\n${text.join('\n')}\n\`\`\`\n`;
  });
}

function kindOf({ flags }) {
  if (flags & ts.SymbolFlags.Function) return 'Functions';
  if (flags & ts.SymbolFlags.Class) return 'Classes';
  return flags & ts.SymbolFlags.Variable ? 'Constants' : 'Types';
}

function printed(node, writer) {
  return writer.printNode(ts.EmitHint.Unspecified, node, node.getSourceFile());
}

/** Whether a type is computed from a value that users do not see, as the union of all codecs' choices is. */
function isComputed(declaration) {
  return ts.isTypeAliasDeclaration(declaration) && declaration.type.getText().includes('typeof ');
}

/** A computed type as its members. */
function expanded(symbol) {
  const type = checker.getDeclaredTypeOfSymbol(symbol);
  const flags = ts.TypeFormatFlags.NoTruncation;
  const members = type.isUnion() ? type.types : [type];
  const texts = members.map((member) => checker.typeToString(member, undefined, flags)).sort();
  return `export type ${symbol.name} =${texts.map((text) => `\n  | ${text}`).join('')};`;
}

/** The whole statement of a variable, which its declaration is a part of. */
function statementOf(declaration) {
  return ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
}

function forgottenTypes() {
  const lines = new Set();
  for (const [name, symbols] of surfaces) {
    for (const [exportName, symbol] of symbols) {
      for (const declaration of symbol.declarations ?? []) {
        if (isComputed(declaration)) continue;
        for (const used of typesIn(declaration)) {
          if (exported.has(used) || !used.declarations?.some(isOurs)) continue;
          const where = relative(DIST, used.declarations[0].getSourceFile().fileName);
          lines.add(`${name}: ${exportName} uses ${used.name} (${where}), which is not exported`);
        }
      }
    }
  }
  return [...lines];
}

/** Symbols of the types that a declaration names. */
function* typesIn(node) {
  const name = ts.isTypeReferenceNode(node)
    ? node.typeName
    : ts.isExpressionWithTypeArguments(node)
      ? node.expression
      : ts.isTypeQueryNode(node)
        ? node.exprName
        : ts.isImportTypeNode(node)
          ? node.qualifier
          : undefined;
  const symbol = name && checker.getSymbolAtLocation(name);
  if (symbol && !(symbol.flags & ts.SymbolFlags.TypeParameter)) yield resolved(symbol);
  const hidden =
    ts.getCombinedModifierFlags(node) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected);
  if (hidden) return;
  const children = [];
  ts.forEachChild(node, (child) => void children.push(child));
  for (const child of children) yield* typesIn(child);
}

function readOr(path, otherwise) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}
