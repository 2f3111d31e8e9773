import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** ml-matrix, loaded on first use: it takes longer than all else that opening an archive loads, which does not need it. */
export const matrixLibrary = (): typeof import('ml-matrix') => require('ml-matrix');
