import { readFileSync } from 'node:fs';
import { packageFile } from './package-files.js';

/** Shared with scripts/build-cuda.mjs, which runs without this module. */
const LIST = packageFile('assets/child-environment.json');

interface AllowList {
  readonly names: readonly string[];
  readonly prefixes: readonly string[];
}

let allowed: AllowList | undefined;

/**
 * The variables that programs started by softpack need: search paths, folders, languages, proxies and certificates, and
 * the settings of pip, npm, compilers and TensorFlow. Everything else stays here: credentials of other services, and
 * what would run foreign code in them (NODE_OPTIONS, LD_PRELOAD, PYTHONPATH). Names are compared in capitals, as proxies
 * are also set in small letters.
 */
export function childEnvironment(source: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  allowed ??= JSON.parse(readFileSync(LIST, 'utf8')) as AllowList;
  const { names, prefixes } = allowed;
  const isAllowed = (name: string) =>
    names.includes(name) || prefixes.some((prefix) => name.startsWith(prefix));
  return Object.fromEntries(
    Object.entries(source).filter(([name]) => isAllowed(name.toUpperCase())),
  );
}
