import { existsSync } from 'node:fs';
import { packageFile } from '../core/package-files.js';
import { STATUSES } from './abi.js';
import type { Addon } from './addon.js';
import { findAddon } from './find-addon.js';
import { createNativeKernels } from './native/kernels.js';
import type { Kernels } from './types.js';

/**
 * - `absent`: no module was built, or there is no addon to open it.
 * - `incompatible`: the module does not load here or has another version.
 * - `no-device`: the module loads but finds no GPU or no driver.
 * - `lost`: the GPU failed earlier in this process.
 */
export type CudaState =
  | { readonly state: 'ready'; readonly reason: string; readonly kernels: Kernels }
  | {
      readonly state: 'absent' | 'incompatible' | 'no-device' | 'lost';
      readonly reason: string;
    };

/** Output of `npm run build:cuda`. */
const FILE = 'build-cuda/Release/softpack_cuda.so';
const BUILD = 'npm run build:cuda (docs/cuda.md)';

let opened: { readonly path: string; readonly kernels: Kernels } | undefined;

/**
 * The CUDA backend, or why there is none. Searches and opens its module only when called. `start` creates the GPU's
 * context and loads the kernels into it; without, `ready` means that there is a GPU of their kind.
 */
export function findCuda(options: { readonly start: boolean }): CudaState {
  const addon = findAddon();
  if (addon.state !== 'ready') {
    return { state: 'absent', reason: `needs the addon (cpu), which is ${addon.state}` };
  }
  const own = process.env.SOFTPACK_CUDA_MODULE;
  const path = own || packageFile(FILE);
  if (!existsSync(path)) {
    const reason = own
      ? `SOFTPACK_CUDA_MODULE names ${own}, which does not exist`
      : `the module is not built (no ${FILE}): ${BUILD}`;
    return { state: 'absent', reason };
  }
  const { state, reason, operations, device } = addon.addon.openModule(path, options.start);
  if (state !== 'ready' || operations === undefined) {
    const hint = state === 'incompatible' ? `; build it again: ${BUILD}` : '';
    return { state: state === 'ready' ? 'incompatible' : state, reason: `${reason}${hint}` };
  }
  if (opened?.path !== path) {
    const kernels = createNativeKernels({
      name: 'cuda',
      isa: `compute capability ${device?.capability}`,
      operations,
      describe: (status) => describeStatus(addon.addon, path, status),
      keepCodes: (codes) => new operations.DeviceBytes(codes),
      coding: addon.addon,
    });
    opened = { path, kernels };
  }
  return { state, reason, kernels: opened.kernels };
}

/** The device remembers why it was lost or refused a call; other failures are described by their status. */
function describeStatus(addon: Addon, path: string, status: number): string {
  const text = addon.statusText(status);
  const remembered = status === STATUSES.deviceLost || status === STATUSES.deviceRefused;
  return remembered ? `${text} (${addon.openModule(path, false).reason})` : text;
}
