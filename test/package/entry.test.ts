import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Files and packages that Node.js loads before the first line of a program that imports `entry`. */
function loaded(entry: string): {
  readonly files: ReadonlySet<string>;
  readonly packages: string[];
} {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string) => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(file, 'utf8');
    for (const [, from] of text.matchAll(/^(?:import|export)\b[^'"`;]*?['"]([^'"]+)['"];/gm)) {
      if (from.startsWith('.')) visit(resolve(dirname(file), from));
      else if (!from.startsWith('node:')) packages.add(from);
    }
  };
  visit(join(root, entry));
  return { files, packages: [...packages] };
}

it('starts fast: a few dozen files, and packages only when they are used', () => {
  const { files, packages } = loaded('lib/index.js');
  expect(packages).toEqual(['xxhash-wasm']);
  // 434 modules in dist/, each of which costs half a millisecond.
  expect(files.size).toBeLessThan(70);
  expect(loaded('lib/cli/main.js').packages.sort()).toEqual(['commander', 'xxhash-wasm']);
});

it('is required by CommonJS as by ES modules, with the same classes', ({ skip }) => {
  // Node.js 20.19, 22.12 and newer say that they can.
  const { require_module: canRequire } = process.features as { require_module?: boolean };
  if (canRequire !== true) skip(`Node.js ${process.version} cannot require ES modules`);
  const program = `
    const { SoftpackError, planLabels } = require('softpack');
    import('softpack').then((module) => {
      console.log(typeof planLabels, module.SoftpackError === SoftpackError);
    });`;
  const out = execFileSync(process.execPath, ['-e', program], { cwd: root, encoding: 'utf8' });
  expect(out).toBe('function true\n');
});

it('asks one module where the package lies: a bundle moves the others', () => {
  const places = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .filter((file) =>
      /new URL\([^)]*import\.meta\.url/.test(readFileSync(join(root, 'src', file), 'utf8')),
    );
  expect(places).toEqual([]);
});
