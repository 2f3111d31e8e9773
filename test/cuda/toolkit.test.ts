import { spawnSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const script = fileURLToPath(new URL('../../scripts/build-cuda.mjs', import.meta.url));
const requirements = fileURLToPath(new URL('../../native/cuda/toolkit.txt', import.meta.url));

/** Stands for Python: makes a virtual environment of itself, notes its arguments, and fails at pip. */
async function fakePython(): Promise<string> {
  const bin = temporary.path('bin');
  await mkdir(bin, { recursive: true });
  const text = `#!/bin/sh
PATH=/usr/bin:/bin
echo "$*" >> "${temporary.path('calls')}"
env >> "${temporary.path('environment')}"
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit 0; fi
exit 1
`;
  const file = await temporary.file('bin/python3', text);
  await chmod(file, 0o755);
  return bin;
}

function build(folder: string, bin: string) {
  const env = { PATH: bin, SOFTPACK_CUDA_TOOLKIT_DIR: folder, GITHUB_TOKEN: 'secret' };
  const args = [script, '--toolkit', 'pypi'];
  return spawnSync(process.execPath, args, { env, encoding: 'utf8' });
}

test('a toolkit is fetched by version and hash into an empty folder, and nothing is removed', async () => {
  const bin = await fakePython();
  const precious = temporary.path('precious');
  for (const name of ['thesis.txt', 'complete.json', 'softpack-toolkit.json']) {
    await mkdir(precious, { recursive: true });
    await temporary.file(`precious/${name}`, '{"packages": []}');
    const before = await readdir(precious);
    const refused = build(precious, bin);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain(`${precious} holds other files`);
    expect(await readdir(precious)).toEqual(before);
  }
  const folder = temporary.path('toolkit');
  await mkdir(folder);
  // Twice: the second goes on where the first one failed.
  for (let run = 0; run < 2; run++) {
    expect(build(folder, bin).stderr).toContain('no toolkit from PyPI');
    await temporary.file('toolkit/kept.txt', 'kept');
  }
  expect(await readFile(join(folder, 'kept.txt'), 'utf8')).toBe('kept');
  const [venv, pip] = (await readFile(temporary.path('calls'), 'utf8')).split('\n');
  expect(venv).toBe(`-m venv ${folder}`);
  expect(pip).toContain('--require-hashes');
  expect(pip).toContain(`-r ${requirements}`);
  expect(await readFile(temporary.path('environment'), 'utf8')).not.toContain('secret');
});

test('every package has an exact version and a hash for each platform', async () => {
  const text = (await readFile(requirements, 'utf8')).replaceAll('\\\n', ' ');
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(lines).toHaveLength(5);
  for (const line of lines) {
    expect(line).toMatch(/^nvidia-[\w-]+==[\d.]+( +--hash=sha256:[0-9a-f]{64}){2}$/);
  }
});
