import { createRequire } from 'node:module';

/** softpack's own, e.g. `0.2.0`. */
export const VERSION: string = createRequire(import.meta.url)('../../package.json').version;
