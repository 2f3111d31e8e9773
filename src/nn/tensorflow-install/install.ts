import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SoftpackError } from '../../errors.js';
import { buildAddon } from './addon.js';
import { downloadTensorflow, installBindingPackage, pipDownload } from './fetch.js';
import {
  ADDON,
  BINDING_FOLDER,
  type InstalledTensorflow,
  installedTensorflow,
  STATE_FILE,
  type TensorflowVariant,
  tensorflowFolder,
} from './location.js';
import {
  BINDING_VERSION,
  currentPlatform,
  isNeeded,
  KNOWN_VERSIONS,
  requirementsOfExtra,
  TENSORFLOW_VERSION,
  type TensorflowPlan,
  tensorflowPlan,
} from './plan.js';
import { diskFull, findCompiler, findNpm, findPip } from './tools.js';
import { type VerifiedTensorflow, verifyTensorflow } from './verify.js';
import { type ExtractedFile, Wheel, type WheelFacts } from './wheel.js';
import { releaseWorkFolder, takeWorkFolder, workFolder } from './workspace.js';

/** `done` of `total` are bytes for `download` and `unpack`, else 0 or 1 of 1. */
export interface InstallProgress {
  readonly phase: 'wait' | 'package' | 'download' | 'unpack' | 'compile' | 'verify';
  readonly done: number;
  readonly total: number;
}

export interface InstallOptions {
  /** Default: `tensorflowFolder()`. Nothing is written but to it and `<dir>.partial`. */
  readonly dir?: string;
  /** `gpu`: with CUDA kernels and NVIDIA's libraries. */
  readonly variant?: TensorflowVariant;
  /** A wheel of TensorFlow on disk, instead of a download. */
  readonly wheel?: string;
  readonly onProgress?: (progress: InstallProgress) => void;
  readonly signal?: AbortSignal;
}

export interface InstallResult {
  readonly dir: string;
  readonly installed: InstalledTensorflow;
  /** What the verification saw; undefined where everything was there already. */
  readonly verified?: VerifiedTensorflow;
  /** What NVIDIA driver the variant needs. */
  readonly driver?: string;
}

interface Job extends InstallOptions {
  readonly dir: string;
  readonly plan: TensorflowPlan;
  readonly work: string;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Builds native TensorFlow for TensorFlow.js from its Python wheel and the sources of @tensorflow/tfjs-node-gpu.
 * Complete or not there at all: it is made in `<dir>.partial`, verified, and renamed. A second call answers at once.
 */
export async function installTensorflow(options: InstallOptions = {}): Promise<InstallResult> {
  const { variant = 'cpu', signal, onProgress } = options;
  const dir = resolve(options.dir ?? tensorflowFolder());
  const plan = tensorflowPlan(variant, currentPlatform());
  const { driver } = plan;
  const wanted = () => matching(dir, variant, options.wheel);
  const present = wanted();
  if (present !== undefined) return { dir, installed: present, driver };
  await checkFolder(dir);
  const tools = {
    pip: options.wheel === undefined || variant === 'gpu' ? await findPip(signal) : [],
    npm: await findNpm(signal),
    compiler: await findCompiler(signal),
  };
  await checkSpace(dir, plan);
  if (options.wheel !== undefined) await checkWheel(options.wheel, plan);
  const report = (phase: InstallProgress['phase'], done = 0, total = 1) =>
    onProgress?.({ phase, done, total });
  const work = await takeWorkFolder(dir, () => report('wait'), signal);
  try {
    const elsewhere = wanted();
    if (elsewhere !== undefined) return { dir, installed: elsewhere, driver };
    const env = { ...process.env, TMPDIR: join(work, 'tmp') };
    const job: Job = { ...options, dir, plan, work, env };
    const built = await build(job, tools, report);
    await publish(work, dir);
    return { dir, ...built, driver };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw diskFull(dir, error);
    if (signal?.aborted) throw new SoftpackError('ABORTED', 'aborted', { cause: signal.reason });
    throw error;
  } finally {
    // After `publish` it is gone, and this does nothing.
    await releaseWorkFolder(work);
  }
}

/** Removes an installation and what interrupted ones left; false if there was none. Leaves other folders alone. */
export async function uninstallTensorflow(dir: string = tensorflowFolder()): Promise<boolean> {
  const folder = resolve(dir);
  await checkFolder(folder);
  let removed = false;
  for (const path of [folder, workFolder(folder)]) {
    if ((await stat(path).catch(() => undefined)) === undefined) continue;
    await rm(path, { recursive: true });
    removed = true;
  }
  return removed;
}

type Report = (phase: InstallProgress['phase'], done?: number, total?: number) => void;
type Tools = Record<'pip' | 'npm' | 'compiler', readonly string[]>;

async function build(job: Job, { pip, npm, compiler }: Tools, report: Report) {
  const { plan, work, env, signal } = job;
  const wheels = join(work, 'wheels');
  report('package');
  await installBindingPackage(npm, { work, env, signal });
  report('package', 1);
  const onProgress = (done: number, total: number) => report('download', done, total);
  const file =
    job.wheel ?? (await downloadTensorflow(pip, plan, wheels, { work, env, signal, onProgress }));
  const unpack = { into: work, needed: isNeeded, signal };
  const { facts, files } = await unpackTensorflow(file, {
    ...unpack,
    onProgress: (done, total) => report('unpack', done, total),
  });
  if (plan.variant === 'gpu') {
    const libraries = requirementsOfExtra(facts.metadata, 'and-cuda');
    await pipDownload(pip, plan, libraries, wheels, { work, env, signal });
    for (const name of await readdir(wheels)) {
      if (!name.startsWith('nvidia_')) continue;
      using wheel = await Wheel.open(join(wheels, name));
      for (const file of await wheel.extract(unpack)) files.push(file);
    }
  }
  report('compile');
  await buildAddon(compiler, { work, env, signal });
  report('compile', 1);
  for (const rest of ['tensorflow/include', 'tmp', 'requirements.txt']) {
    await rm(join(work, rest), { recursive: true, force: true });
  }
  report('verify');
  const verified = await verifyTensorflow(work, signal);
  report('verify', 1);
  const installed = await writeState(work, plan.variant, facts.version, files);
  return { installed, verified };
}

async function unpackTensorflow(
  file: string,
  options: Parameters<Wheel['extract']>[0],
): Promise<{ facts: WheelFacts; files: ExtractedFile[] }> {
  using wheel = await Wheel.open(file);
  const files = await wheel.extract(options);
  const libraries = files.filter(({ path }) => /^tensorflow\/lib.*\.so/.test(path));
  if (libraries.length < 2) {
    throw new SoftpackError('INVALID_FILE', 'no libraries with a C API in the wheel', {
      field: file,
      expected: 'libtensorflow_cc and libtensorflow_framework',
      found: libraries.map(({ path }) => path).join(', ') || 'neither',
    });
  }
  return { facts: wheel.facts, files: files.filter(({ path }) => !path.includes('/include/')) };
}

/** Throws `INVALID_FILE` unless it is TensorFlow for this machine, in a release that is known to work. */
async function checkWheel(file: string, plan: TensorflowPlan): Promise<void> {
  using wheel = await Wheel.open(file);
  const { name, version, tags } = wheel.facts;
  const [expected] = plan.requirement.split('==');
  const known = (KNOWN_VERSIONS as readonly string[]).includes(version);
  if (name !== expected || !known || !tags.includes('x86_64') || !tags.includes('linux')) {
    throw new SoftpackError('INVALID_FILE', 'not a wheel that can be used here', {
      field: file,
      expected: `${expected} ${KNOWN_VERSIONS.join(' or ')} for linux x86_64`,
      found: `${name} ${version}, ${tags}`,
    });
  }
}

async function writeState(
  work: string,
  variant: TensorflowVariant,
  tensorflow: string,
  extracted: readonly ExtractedFile[],
): Promise<InstalledTensorflow> {
  const path = join(BINDING_FOLDER, ADDON);
  const hash = createHash('sha256');
  await pipeline(createReadStream(join(work, path)), hash);
  const addon = { path, bytes: (await stat(join(work, path))).size, sha256: hash.digest('hex') };
  const files = Object.fromEntries(
    [...extracted, addon].map(({ path, bytes, sha256 }) => [path, { bytes, sha256 }]),
  );
  const binding = BINDING_VERSION;
  const state: InstalledTensorflow = { format: 1, tensorflow, variant, binding, files };
  await writeFile(join(work, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
  return state;
}

/** Puts the finished folder in its place; an older installation there is replaced. */
async function publish(work: string, dir: string): Promise<void> {
  for (const rest of ['wheels', 'owner'])
    await rm(join(work, rest), { recursive: true, force: true });
  const old = `${work}.old`;
  await rm(old, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await rename(dir, old);
  await rename(work, dir);
  await rm(old, { recursive: true, force: true });
}

/** The installation in `dir` if it is what was asked for; a wheel given may be any known release. */
function matching(dir: string, variant: TensorflowVariant, wheel: string | undefined) {
  const installed = installedTensorflow(dir);
  const version = wheel !== undefined || installed?.tensorflow === TENSORFLOW_VERSION;
  const same = installed?.variant === variant && installed.binding === BINDING_VERSION && version;
  return same ? installed : undefined;
}

/** Refuses a folder that holds something else: it would be replaced. */
async function checkFolder(dir: string): Promise<void> {
  const entries = await readdir(dir).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  if (entries.length === 0 || entries.includes(STATE_FILE)) return;
  throw new SoftpackError('ALREADY_EXISTS', 'the folder holds something else; give another --dir', {
    field: dir,
    found: entries.slice(0, 3).join(', '),
  });
}

async function checkSpace(dir: string, { spaceBytes }: TensorflowPlan): Promise<void> {
  const parent = dirname(dir);
  await mkdir(parent, { recursive: true });
  const { bavail, bsize } = await statfs(parent);
  if (bavail * bsize >= spaceBytes) return;
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  throw new SoftpackError('NO_SPACE', 'too little free disk space; give another --dir', {
    field: parent,
    expected: mib(spaceBytes),
    found: mib(bavail * bsize),
  });
}
