import { readFileSync } from 'node:fs';
import { packageFile } from './package-files.js';

/** softpack's own, e.g. `0.2.0`. */
export const VERSION: string = JSON.parse(
  readFileSync(packageFile('package.json'), 'utf8'),
).version;
