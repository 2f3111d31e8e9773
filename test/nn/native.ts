import { resolve } from 'node:path';
import { SoftpackError } from '#src/errors.js';
import { installTensorflow } from '#src/nn/tensorflow-install/install.js';
import { installedTensorflow, tensorflowFolder } from '#src/nn/tensorflow-install/location.js';

/** Longest that a first download and compilation may take. */
export const INSTALL_TIMEOUT = 600_000;

/** What a machine without network, pip or compiler lacks; anything else is a failure. */
const LACKS = ['DOWNLOAD_FAILED', 'TOOL_MISSING', 'UNSUPPORTED', 'NO_SPACE'];

/**
 * Makes native TensorFlow loadable here, or says why it cannot be had: where `SOFTPACK_TENSORFLOW_DIR` says, else where
 * `softpack tensorflow install` has put it, else in `.softpack/tensorflow`. The first test file that asks installs it.
 */
export async function nativeTensorflow(): Promise<string | undefined> {
  if (installedTensorflow(tensorflowFolder()) === undefined) {
    process.env.SOFTPACK_TENSORFLOW_DIR ??= resolve('.softpack/tensorflow');
  }
  try {
    await installTensorflow();
    return undefined;
  } catch (error) {
    if (error instanceof SoftpackError && LACKS.includes(error.code)) return error.message;
    throw error;
  }
}
