import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftpackError } from '../../errors.js';
import { BINDING_PACKAGE, ENGINE_PACKAGES } from './location.js';
import { BINDING_VERSION, type TensorflowPlan } from './plan.js';
import { diskFull, errorLines, runTool } from './tools.js';

export interface FetchOptions {
  /** Folder that holds everything fetched, caches and temporary files included. */
  readonly work: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

/** Fetches the plan's wheel into `wheels` with its hash checked; a whole one left by an earlier run is kept. */
export async function downloadTensorflow(
  pip: readonly string[],
  plan: TensorflowPlan,
  wheels: string,
  options: FetchOptions & { readonly onProgress?: (done: number, total: number) => void },
): Promise<string> {
  const requirements = join(options.work, 'requirements.txt');
  await writeFile(requirements, `${plan.requirement} --hash=sha256:${plan.sha256}\n`);
  let running = true;
  const poll = setInterval(async () => {
    // pip reports progress to terminals only: the size of what it has written so far says the same.
    const done = (await folderBytes(wheels)) + (await folderBytes(join(options.work, 'tmp')));
    if (running) options.onProgress?.(Math.min(done, plan.wheelBytes - 1), plan.wheelBytes);
  }, 500);
  try {
    await pipDownload(pip, plan, ['--require-hashes', '-r', requirements], wheels, options);
  } finally {
    running = false;
    clearInterval(poll);
  }
  options.onProgress?.(plan.wheelBytes, plan.wheelBytes);
  const prefix = `${plan.requirement.split('==')[0].replaceAll('-', '_')}-`;
  const name = (await readdir(wheels)).find((file) => file.startsWith(prefix));
  if (name === undefined) throw new Error(`pip left no ${prefix}*.whl in ${wheels}`);
  return join(wheels, name);
}

/** Fetches wheels without their dependencies: `requirements` are pip arguments. */
export async function pipDownload(
  pip: readonly string[],
  plan: TensorflowPlan,
  requirements: readonly string[],
  wheels: string,
  { env, signal }: FetchOptions,
): Promise<void> {
  await mkdir(wheels, { recursive: true });
  const target = plan.platforms.flatMap((platform) => ['--platform', platform]);
  const flags = ['--no-deps', '--only-binary=:all:', '--python-version', '3.11', ...target];
  const quiet = ['--no-cache-dir', '--disable-pip-version-check', '--no-input', '--retries', '2'];
  const command = [...pip, 'download', ...quiet, ...flags, '--dest', wheels, ...requirements];
  const result = await runTool(command, { env, signal });
  if (result?.ok) return;
  const output = result?.output ?? '';
  if (/DO NOT MATCH THE HASHES/i.test(output)) {
    throw new SoftpackError('CORRUPT_DATA', 'the package index has another wheel', {
      field: plan.requirement,
      expected: `sha256 ${plan.sha256}`,
      found: errorLines(output),
    });
  }
  requireNoDiskError(output, wheels);
  throw new SoftpackError(
    'DOWNLOAD_FAILED',
    `pip could not fetch it; check the network and PIP_INDEX_URL, or give a wheel by --wheel:\n${errorLines(output)}`,
    { field: plan.requirement },
  );
}

/**
 * Installs the binding's package without its script, which would download TensorFlow 2.9. In place of the TensorFlow.js
 * it depends on stand two empty packages: the loader hands in softpack's own, so that there is one engine.
 */
export async function installBindingPackage(
  npm: readonly string[],
  { work, env, signal }: FetchOptions,
): Promise<void> {
  for (const name of ENGINE_PACKAGES) {
    const folder = join(work, 'engine', name);
    await mkdir(folder, { recursive: true });
    const manifest = { name, version: BINDING_VERSION, main: 'index.js' };
    await writeFile(join(folder, 'package.json'), JSON.stringify(manifest));
    await writeFile(
      join(folder, 'index.js'),
      `throw new Error('${name} is handed in by softpack');\n`,
    );
  }
  const engines = ENGINE_PACKAGES.map((name) => [name, `file:engine/${name}`]);
  const dependencies = {
    [BINDING_PACKAGE]: BINDING_VERSION,
    // Node-API is the same in every Node.js: its headers need not come from the one that runs.
    'node-api-headers': '^1.5.0',
    ...Object.fromEntries(engines),
  };
  await writeFile(join(work, 'package.json'), JSON.stringify({ private: true, dependencies }));
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--no-global'];
  const folders = ['--prefix', work, '--cache', join(work, 'tmp', 'npm')];
  const retries = ['--fetch-retries=1', '--loglevel=error'];
  const command = [...npm, 'install', ...flags, ...retries, ...folders];
  const result = await runTool(command, { cwd: work, env, signal });
  if (result?.ok) return;
  const output = result?.output ?? '';
  requireNoDiskError(output, work);
  throw new SoftpackError(
    'DOWNLOAD_FAILED',
    `npm could not fetch it; check the network and the registry:\n${errorLines(output)}`,
    { field: `${BINDING_PACKAGE}@${BINDING_VERSION}` },
  );
}

function requireNoDiskError(output: string, folder: string): void {
  if (/No space left on device|ENOSPC/.test(output)) throw diskFull(folder);
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    const facts = await stat(join(folder, entry)).catch(() => undefined);
    if (facts?.isFile()) bytes += facts.size;
  }
  return bytes;
}
