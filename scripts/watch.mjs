// Compiles on every change and reruns the tests that a change affects: npm run watch -- test/codecs
//
// Two processes: tsc writes dist/, which the tests run; Vitest watches dist/ and the tests.
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const bin = (name) => path.join(root, 'node_modules/.bin', name);
const options = { cwd: root, stdio: 'inherit' };

const compile = ['-p', 'tsconfig.build.json'];
spawnSync(bin('tsc'), compile, options);
const compiler = spawn(bin('tsc'), [...compile, '--watch', '--preserveWatchOutput'], options);
const tests = spawn(bin('vitest'), ['watch', ...process.argv.slice(2)], options);
tests.once('exit', (code) => {
  compiler.kill();
  process.exitCode = code ?? 1;
});
