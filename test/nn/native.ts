import { resolve } from 'node:path';
import { SoftpackError } from '#src/errors.js';
import { installTensorflow } from '#src/nn/tensorflow-install/install.js';

/** Longest that a first download and compilation may take. */
export const INSTALL_TIMEOUT = 600_000;

/** What a machine without network, pip or compiler lacks; anything else is a failure. */
const LACKS = ['DOWNLOAD_FAILED', 'TOOL_MISSING', 'UNSUPPORTED', 'NO_SPACE'];

/** Makes native TensorFlow loadable here, kept in `.softpack/tensorflow`; else says why it cannot be had. */
export async function nativeTensorflow(): Promise<string | undefined> {
  process.env.SOFTPACK_TENSORFLOW_DIR ??= resolve('.softpack/tensorflow');
  try {
    await installTensorflow();
    return undefined;
  } catch (error) {
    if (error instanceof SoftpackError && LACKS.includes(error.code)) return error.message;
    throw error;
  }
}
