// The addon on Windows, whose linker needs the import library of node.exe: node-gyp fetches it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

/** @throws An error with the output if there is no node-gyp, or if it fails. */
export function runNodeGyp(root) {
  const nodeGyp = findNodeGyp();
  if (nodeGyp === undefined) throw new Error('error: no node-gyp was found');
  const description = path.join(root, 'binding.gyp');
  copyFileSync(path.join(root, 'native/windows.gyp'), description);
  try {
    const options = { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28 };
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [nodeGyp, 'rebuild', '--jobs=max'],
      options,
    );
    if (status !== 0) throw new Error(`${stdout}\n${stderr}`);
  } finally {
    rmSync(description, { force: true });
  }
}

/** npm names its own node-gyp to scripts; by hand, the one inside the npm beside this Node.js, or an installed one. */
function findNodeGyp() {
  const ofNpm = 'node_modules/npm/node_modules/node-gyp/bin/node-gyp.js';
  const candidates = [
    process.env.npm_config_node_gyp,
    path.join(path.dirname(process.execPath), ofNpm),
    resolveLocal('node-gyp/bin/node-gyp.js'),
  ];
  return candidates.find((file) => file !== undefined && existsSync(file));
}

function resolveLocal(file) {
  try {
    return createRequire(import.meta.url).resolve(file);
  } catch {
    return undefined;
  }
}
