import { mkdir, realpath, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { childEnvironment } from '../../core/child-environment.js';
import { SoftpackError } from '../../errors.js';
import { onFile } from '../../store/file-error.js';
import { buildAddon } from './addon.js';
import { describeContents, type Ownership, ownershipOf, removeOurs } from './contents.js';
import { downloadLibraries, downloadTensorflow, installBindingPackage } from './fetch.js';
import {
  type InstalledTensorflow,
  STATE_FILE,
  type TensorflowVariant,
  tensorflowFolder,
} from './location.js';
import { buildDeviceStream, buildOperations, operationsDigest } from './operations.js';
import {
  BINDING_VERSION,
  currentPlatform,
  isNeeded,
  KNOWN_VERSIONS,
  type TensorflowPlan,
  tensorflowPlan,
} from './plan.js';
import { canBuildOn, hasOperations, linkInstallation, sameTensorflow } from './reuse.js';
import { diskFull, findCompiler, findNpm, findPip } from './tools.js';
import { type VerifiedTensorflow, verifyTensorflow } from './verify.js';
import { Wheel, type WheelFacts } from './wheel.js';
import {
  OWNER,
  releaseWorkFolder,
  removeWorkFolder,
  takeWorkFolder,
  workFolder,
} from './workspace.js';

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
  /** Result of the verification; undefined if everything was already installed. */
  readonly verified?: VerifiedTensorflow;
  /** The NVIDIA driver that the variant needs. */
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
  const dir = await realFolder(options.dir ?? tensorflowFolder());
  const plan = tensorflowPlan(variant, currentPlatform());
  const { driver } = plan;
  const found = () => sameTensorflow(dir, { variant, wheel: options.wheel });
  const before = await found();
  if (before && (await hasOperations(before))) return { dir, installed: before, driver };
  await requireOurs(dir);
  const compiler = await findCompiler(signal);
  const fetchers = canBuildOn(dir, before) ? undefined : await prepareToFetch(dir, plan, options);
  const report = (phase: InstallProgress['phase'], done = 0, total = 1) =>
    onProgress?.({ phase, done, total });
  const work = await takeWorkFolder(dir, () => report('wait'), signal);
  let published = false;
  try {
    const now = await found();
    if (now && (await hasOperations(now))) return { dir, installed: now, driver };
    const env = { ...childEnvironment(), TMPDIR: join(work, 'tmp') };
    const job: Job = { ...options, dir, plan, work, env };
    const fetched = async () => {
      const tools = fetchers ?? (await prepareToFetch(dir, plan, options));
      return makeBinding(job, { ...tools, compiler }, report);
    };
    const linked = canBuildOn(dir, now);
    const tensorflow = await (linked ? linkInstallation(dir, now, work) : fetched());
    const built = await finish(job, compiler, tensorflow, report);
    await publish(work, dir);
    published = true;
    return { dir, ...built, driver };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw diskFull(dir, error);
    if (signal?.aborted) throw new SoftpackError('ABORTED', 'aborted', { cause: signal.reason });
    throw error;
  } finally {
    // Once published, a folder of this name is another installation's.
    if (!published) await releaseWorkFolder(work);
  }
}

/**
 * Removes the files of an installation and the remains of interrupted ones; false if there was none.
 *
 * @throws `ALREADY_EXISTS`, before anything is removed, if the folder holds a file that was not installed; `LOCKED` while
 *   an installation runs.
 */
export async function uninstallTensorflow(dir: string = tensorflowFolder()): Promise<boolean> {
  const folder = await realFolder(dir);
  const found = await requireOurs(folder);
  const old = await requireOurs(oldFolder(folder));
  let removed = await removeWorkFolder(folder);
  for (const [path, ownership] of [
    [folder, found],
    [oldFolder(folder), old],
  ] as const) {
    if (ownership.ours.length === 0) continue;
    await removeOurs(path, ownership);
    removed = true;
  }
  return removed;
}

type Report = (phase: InstallProgress['phase'], done?: number, total?: number) => void;
type Fetchers = Record<'pip' | 'npm', readonly string[]>;

/** Finds what a download needs, before anything is done. */
async function prepareToFetch(
  dir: string,
  plan: TensorflowPlan,
  { wheel, signal }: InstallOptions,
): Promise<Fetchers> {
  const pip = wheel === undefined || plan.variant === 'gpu' ? await findPip(signal) : [];
  const npm = await findNpm(signal);
  await checkSpace(dir, plan);
  if (wheel !== undefined) await checkWheel(wheel, plan);
  return { pip, npm };
}

/** TensorFlow and the binding, from downloads; returns the version of TensorFlow. */
async function makeBinding(
  job: Job,
  { pip, npm, compiler }: Fetchers & { readonly compiler: readonly string[] },
  report: Report,
): Promise<string> {
  const { plan, work, env, signal } = job;
  const wheels = join(work, 'wheels');
  report('package');
  await installBindingPackage(npm, { work, env, signal });
  report('package', 1);
  const onProgress = (done: number, total: number) => report('download', done, total);
  const file =
    job.wheel ?? (await downloadTensorflow(pip, plan, wheels, { work, env, signal, onProgress }));
  const unpack = { into: work, needed: isNeeded, signal };
  const facts = await unpackTensorflow(file, {
    ...unpack,
    onProgress: (done, total) => report('unpack', done, total),
  });
  if (plan.variant === 'gpu') {
    const fetched = await downloadLibraries(pip, plan, facts, wheels, { work, env, signal });
    for (const path of fetched) {
      using wheel = await Wheel.open(path);
      await wheel.extract(unpack);
    }
  }
  report('compile');
  await buildAddon(compiler, { work, env, signal });
  if (plan.variant === 'gpu') await buildDeviceStream(compiler, file, { work, env, signal });
  return facts.version;
}

/** The operations, the verification and the record. */
async function finish(
  { plan, work, env, signal }: Job,
  compiler: readonly string[],
  tensorflow: string,
  report: Report,
) {
  report('compile');
  await buildOperations(compiler, { work, env, signal });
  report('compile', 1);
  report('verify');
  const verified = await verifyTensorflow(work, signal);
  report('verify', 1);
  for (const rest of ['tmp', 'wheels', 'requirements.txt']) {
    await rm(join(work, rest), { recursive: true, force: true });
  }
  const installed = await writeState(work, plan.variant, tensorflow);
  return { installed, verified };
}

async function unpackTensorflow(
  file: string,
  options: Parameters<Wheel['extract']>[0],
): Promise<WheelFacts> {
  using wheel = await Wheel.open(file);
  const files = await wheel.extract(options);
  const libraries = files.filter((path) => /^tensorflow\/lib.*\.so/.test(path));
  if (libraries.length < 2) {
    throw new SoftpackError('INVALID_FILE', 'no libraries with a C API in the wheel', {
      field: file,
      expected: 'libtensorflow_cc and libtensorflow_framework',
      found: libraries.join(', ') || 'neither',
    });
  }
  return wheel.facts;
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
): Promise<InstalledTensorflow> {
  const { files, links } = await describeContents(work);
  const { [OWNER]: _, ...installed } = files;
  const state: InstalledTensorflow = {
    ...{ format: 2, tensorflow, variant, binding: BINDING_VERSION },
    operations: await operationsDigest(),
    files: installed,
    links,
  };
  await writeFile(join(work, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
  return state;
}

/** Puts the finished folder in its place; an older installation there is replaced. */
async function publish(work: string, dir: string): Promise<void> {
  const old = oldFolder(dir);
  await removeOurs(old, await requireOurs(old));
  const replaced = await requireOurs(dir);
  await mkdir(dir, { recursive: true });
  await rename(dir, old);
  await rename(work, dir);
  // Only now: without it nobody could tell the work folder from others.
  await rm(join(dir, OWNER));
  await removeOurs(old, replaced);
}

/** Path of an installation while another replaces it. */
function oldFolder(dir: string): string {
  return `${workFolder(dir)}.old`;
}

/** The folder itself if the path is a symbolic link to it. */
async function realFolder(dir: string): Promise<string> {
  const path = resolve(dir);
  return realpath(path).catch(() => path);
}

/** Refuses a folder that holds anything but an installation: its files would be lost. */
async function requireOurs(dir: string): Promise<Ownership> {
  const found = await stat(dir).catch(() => undefined);
  if (found === undefined) return { ours: [], others: [] };
  const ownership = await onFile(dir, () => ownershipOf(dir));
  const { others } = ownership;
  if (others.length === 0) return ownership;
  const more = others.length > 3 ? ` and ${others.length - 3} more` : '';
  throw new SoftpackError(
    'ALREADY_EXISTS',
    'the folder holds files that softpack did not install; move them away or give another --dir',
    { field: dir, found: `${others.slice(0, 3).join(', ')}${more}` },
  );
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
