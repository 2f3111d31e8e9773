import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { packageFile } from '../../core/package-files.js';
import { compileShared } from './compile.js';
import type { FetchOptions } from './fetch.js';
import { ADDON, BINDING_FOLDER } from './location.js';

const DEFAULTS = packageFile('native/tensorflow/defaults.cc');

/** One set of names for all threads, inserted into without a lock: each thread must have its own. */
const SHARED_NAMES = 'static std::set<std::string> ATTR_NAME_SET;';
const NAMES_PER_THREAD = 'static thread_local std::set<std::string> ATTR_NAME_SET;';

/** Compiles the binding against the unpacked libraries. */
export async function buildAddon(
  compiler: readonly string[],
  options: FetchOptions,
): Promise<void> {
  const folder = join(options.work, BINDING_FOLDER);
  const source = join(folder, 'binding', 'tfjs_backend.cc');
  const text = await readFile(source, 'utf8');
  if (!text.includes(SHARED_NAMES)) throw new Error(`${source} is not the release expected`);
  await writeFile(source, text.replace(SHARED_NAMES, NAMES_PER_THREAD));
  await mkdir(dirname(join(folder, ADDON)), { recursive: true });
  const binding = (name: string) => join(BINDING_FOLDER, 'binding', name);
  const library = {
    name: 'binding',
    inputs: [binding('tfjs_backend.cc'), binding('tfjs_binding.cc'), DEFAULTS],
    output: join(BINDING_FOLDER, ADDON),
    libraries: ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'],
  };
  await compileShared(compiler, library, options);
}
