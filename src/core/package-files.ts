import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Folder of the compiled modules (`dist`, or `lib` if they are bundled) and of the package around it. In a bundle this module
 * lies in another folder than its source: its own place tells nothing but these two.
 */
const { root, modules } = locate();

function locate(): { readonly root: string; readonly modules: string } {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const above = dirname(folder);
    if (existsSync(join(above, 'package.json')) || above === folder) {
      return { root: above, modules: folder };
    }
    folder = above;
  }
}

/** Path of a file of the package, e.g. `package.json`. */
export const packageFile = (path: string): string => join(root, path);

/** Path of a module that runs in a thread or process of its own, e.g. `loader/worker.js`; scripts/bundle.mjs keeps these apart. */
export const moduleFile = (path: string): string => join(modules, path);
