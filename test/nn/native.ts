import { resolve } from 'node:path';
import { SoftpackError } from '#src/errors.js';
import { installTensorflow } from '#src/nn/tensorflow-install/install.js';
import { installedTensorflow, tensorflowFolder } from '#src/nn/tensorflow-install/location.js';
import { hasOperations } from '#src/nn/tensorflow-install/reuse.js';

/** Longest that a first download and compilation may take. */
export const INSTALL_TIMEOUT = 600_000;

/** Errors of a machine without network, pip or compiler; anything else is a failure. */
const LACKS = ['DOWNLOAD_FAILED', 'TOOL_MISSING', 'UNSUPPORTED', 'NO_SPACE'];

/**
 * Makes native TensorFlow loadable here, or says why it cannot be had. It is looked for in `SOFTPACK_TENSORFLOW_DIR`, then
 * where `softpack tensorflow install` puts it, then in `.softpack/tensorflow`. Only the slow suite installs what it does
 * not find (`install`); the quick one skips.
 */
export async function nativeTensorflow({ install = false } = {}): Promise<string | undefined> {
  if (installedTensorflow(tensorflowFolder()) === undefined) {
    process.env.SOFTPACK_TENSORFLOW_DIR ??= resolve('.softpack/tensorflow');
  }
  if (installedTensorflow(tensorflowFolder()) !== undefined) return undefined;
  if (!install) return 'native TensorFlow is not installed; npm run test:slow installs it';
  try {
    await installTensorflow();
    return undefined;
  } catch (error) {
    if (error instanceof SoftpackError && LACKS.includes(error.code)) return error.message;
    throw error;
  }
}

/** The same for its operations that decode labels, which an installation of an earlier release lacks. */
export async function nativeOperations({ install = false } = {}): Promise<string | undefined> {
  const lacking = await nativeTensorflow({ install });
  if (lacking !== undefined) return lacking;
  const installed = installedTensorflow(tensorflowFolder());
  if (installed !== undefined && (await hasOperations(installed))) return undefined;
  if (!install) return 'TensorFlow has no operations of this release; softpack tensorflow install';
  try {
    await installTensorflow();
    return undefined;
  } catch (error) {
    const reasons = [...LACKS, 'ALREADY_EXISTS'];
    if (error instanceof SoftpackError && reasons.includes(error.code)) return error.message;
    throw error;
  }
}
