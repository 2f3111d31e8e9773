import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../core/package-files.js';
import { SoftpackError } from '../../errors.js';
import { BINDING_PACKAGE, ENGINE_PACKAGES } from './location.js';
import { BINDING_VERSION, requirementsOfExtra, type TensorflowPlan } from './plan.js';
import { diskFull, errorLines, runTool } from './tools.js';
import type { WheelFacts } from './wheel.js';

const native = (path: string) => packageFile(`native/tensorflow/${path}`);
/** Exact versions of NVIDIA's libraries and the hashes of their wheels. */
const LIBRARIES = native('nvidia.txt');
/** The binding and its dependencies, each in one version with the hash of its archive. */
const PACKAGES = { manifest: native('npm/package.json'), lock: native('npm/lock.json') };

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
    await pipDownload(pip, plan, requirements, wheels, options);
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

/** Fetches NVIDIA's libraries for a wheel of TensorFlow, in the versions and with the hashes of this package. */
export async function downloadLibraries(
  pip: readonly string[],
  plan: TensorflowPlan,
  { metadata }: WheelFacts,
  wheels: string,
  options: FetchOptions,
): Promise<readonly string[]> {
  const pins = [...(await readFile(LIBRARIES, 'utf8')).matchAll(/^([\w-]+)==(\S+)/gm)];
  const needed = requirementsOfExtra(metadata, 'and-cuda').map((text) => text.split(/[<>=!~[]/)[0]);
  const unknown = needed.find((name) => !pins.some(([, pinned]) => pinned === name));
  if (unknown !== undefined) {
    const expected = `only ${pins.map(([, name]) => name).join(', ')}`;
    const details = { field: plan.requirement, expected, found: unknown };
    throw new SoftpackError('UNSUPPORTED', 'the wheel needs another library', details);
  }
  await pipDownload(pip, plan, LIBRARIES, wheels, options);
  // An earlier run may have left others there.
  const prefixes = pins.map(([, name, version]) => `${name.replaceAll('-', '_')}-${version}-`);
  const found = (await readdir(wheels)).filter((file) =>
    prefixes.some((prefix) => file.startsWith(prefix)),
  );
  return found.map((file) => join(wheels, file));
}

/** Fetches the wheels of a requirements file, which has a hash for each, without their dependencies. */
async function pipDownload(
  pip: readonly string[],
  plan: TensorflowPlan,
  requirements: string,
  wheels: string,
  { env, signal }: FetchOptions,
): Promise<void> {
  await mkdir(wheels, { recursive: true });
  const target = plan.platforms.flatMap((platform) => ['--platform', platform]);
  const flags = ['--no-deps', '--only-binary=:all:', '--python-version', '3.11', ...target];
  const quiet = ['--no-cache-dir', '--disable-pip-version-check', '--no-input', '--retries', '2'];
  const pinned = ['--require-hashes', '-r', requirements];
  const command = [...pip, 'download', ...quiet, ...flags, '--dest', wheels, ...pinned];
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
  // Node-API is the same in every Node.js: its headers are a package and need not come from the one that runs.
  await copyFile(PACKAGES.manifest, join(work, 'package.json'));
  await copyFile(PACKAGES.lock, join(work, 'package-lock.json'));
  const flags = [
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--no-global',
    '--no-install-links',
  ];
  const folders = ['--prefix', work, '--cache', join(work, 'tmp', 'npm')];
  const retries = ['--fetch-retries=1', '--loglevel=error'];
  const command = [...npm, 'ci', ...flags, ...retries, ...folders];
  const result = await runTool(command, { cwd: work, env, signal });
  if (result?.ok) return;
  const output = result?.output ?? '';
  requireNoDiskError(output, work);
  if (/EINTEGRITY/.test(output)) {
    throw new SoftpackError('CORRUPT_DATA', 'the registry has another package', {
      field: `${BINDING_PACKAGE}@${BINDING_VERSION} or a dependency`,
      found: errorLines(output),
    });
  }
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
