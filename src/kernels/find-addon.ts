import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { packageFile } from '../core/package-files.js';
import { errorMessage } from '../errors.js';
import { abiDifference } from './abi.js';
import { ADDON_VERSION, type Addon, type AddonInfo } from './addon.js';

export type AddonState =
  | {
      readonly state: 'ready';
      readonly addon: Addon;
      readonly info: AddonInfo;
      readonly isa: string;
    }
  | AddonProblem;

/**
 * - `absent`, `broken`: the addon is missing or does not load.
 * - `stale`: it was built from other sources.
 * - `unsupported`: SOFTPACK_ISA requests an instruction set that this processor lacks.
 */
export interface AddonProblem {
  readonly state: 'absent' | 'broken' | 'stale' | 'unsupported';
  readonly reason: string;
}

/** Outputs of the two builds, in the order of preference: who built one wants it. */
const BUILDS = ['build/Release/softpack.node', 'build-cmake/Release/softpack.node'] as const;

const REBUILD =
  'type `npx softpack doctor --build`, or in a checkout `node scripts/build-addon.mjs`';

let found: AddonState | undefined;

/** The addon, or all reasons why there is none and what to do about it. Searched once per thread. */
export function findAddon(): AddonState {
  found ??= loadAddon();
  return found;
}

/** Packages with the addon for this platform, of which npm installs the one that fits the C library. */
function platformPackages(): readonly string[] {
  const { platform, arch } = process;
  const names = platform === 'linux' ? ['linux', 'linuxmusl'] : [platform];
  return names.map((name) => `@softpack/${name}-${arch}`);
}

/** The first addon of this version among what was built here and what a platform's package brought. */
function loadAddon(): AddonState {
  const require = createRequire(import.meta.url);
  const causes: string[] = [];
  let stale = false;
  for (const path of [...builtFiles(), ...installedFiles(require)]) {
    try {
      const addon = require(path) as Addon;
      const difference = differenceOf(addon);
      if (difference === undefined) return describe(addon);
      stale = true;
      causes.push(`${path}: ${difference}`);
    } catch (error) {
      causes.push(`${path}: ${errorMessage(error)}`);
    }
  }
  const why = causes.join('; ');
  if (stale) {
    return {
      state: 'stale',
      reason: `the addon was built from other sources (${why}): ${REBUILD}`,
    };
  }
  if (causes.length > 0) {
    return { state: 'broken', reason: `the addon does not load (${why}): ${REBUILD}` };
  }
  const absent = `no ${platformPackages().join(' or ')} is installed, and ${buildProblem()}`;
  return { state: 'absent', reason: `there is no addon (${absent}): ${REBUILD}` };
}

function builtFiles(): readonly string[] {
  return BUILDS.map(packageFile).filter((path) => existsSync(path));
}

function installedFiles(require: NodeJS.Require): readonly string[] {
  return platformPackages().flatMap((name) => {
    try {
      return [require.resolve(name)];
    } catch {
      return [];
    }
  });
}

/** Why there is no build: an installer that runs no scripts of packages leaves no log. */
function buildProblem(): string {
  const log = packageFile('build-addon.log');
  if (!existsSync(log)) return `none is built (no ${BUILDS[0]})`;
  const lines = readFileSync(log, 'utf8').split('\n');
  const cause = lines.find((line) => /error|ERR!|not found/i.test(line)) ?? lines[0];
  return `building failed: ${cause.trim()}, see ${log}`;
}

function differenceOf({ version, abi }: Addon): string | undefined {
  if (version !== ADDON_VERSION) {
    return `version ${version ?? 'unknown'}, expected ${ADDON_VERSION}`;
  }
  return abiDifference(abi);
}

function describe(addon: Addon): AddonState {
  const info = addon.info();
  if (info.isa === null) {
    const forced = process.env.SOFTPACK_ISA ?? '';
    const reason = `SOFTPACK_ISA=${forced}, but this processor offers only: ${info.availableIsas}`;
    return { state: 'unsupported', reason: `${reason}. Unset it or use one of these.` };
  }
  return { state: 'ready', addon, info, isa: info.isa };
}
