import { SoftpackError } from '../errors.js';
import { findCuda } from './cuda.js';
import { withFallback } from './fallback.js';
import { findAddon } from './find-addon.js';
import { createCpuKernels } from './native/kernels.js';
import { referenceKernels } from './reference/kernels.js';
import type { Kernels } from './types.js';

const BACKENDS = ['auto', 'cpu', 'cuda', 'reference'] as const;

export type BackendName = (typeof BACKENDS)[number];

export interface LoadKernelsOptions {
  /**
   * `cpu`: the addon, else `BACKEND_UNAVAILABLE`. `cuda`: the GPU, likewise. `reference`: plain TypeScript. `auto`
   * (default): what the environment variable SOFTPACK_BACKEND names, else the GPU if it is ready (the addon continues
   * if it fails), else the addon, else the reference with one process warning.
   */
  readonly backend?: BackendName;
}

/** Whether a backend can be used, and if not, why. */
export interface KernelStatus {
  readonly name: string;
  /** `ready`, or the state that prevents its use. */
  readonly state: string;
  /** For people: what was found, and what to type if something is missing. */
  readonly reason: string;
  /** Native memory in use: tables of encoders and decoders, and working memory kept between calls. */
  readonly memoryBytes?: number;
}

let warned = false;

/** The kernels to use. Loads the addon once per thread; further calls are cheap. */
export function loadKernels(options: LoadKernelsOptions = {}): Kernels {
  const backend = chosenBackend(options.backend);
  if (backend === 'reference') return referenceKernels;
  if (backend === 'cuda') return cudaKernels();
  const found = findAddon();
  if (found.state === 'ready') {
    const cpu = createCpuKernels(found.addon, found.isa);
    if (backend === 'cpu') return cpu;
    const cuda = findCuda({ start: true });
    return cuda.state === 'ready' ? withFallback(cuda.kernels, () => cpu) : cpu;
  }
  // A wrong SOFTPACK_ISA or an old build is a mistake to report, not a limit to work around.
  const mistake = found.state === 'unsupported' || found.state === 'stale';
  if (backend === 'cpu' || mistake) {
    throw new SoftpackError('BACKEND_UNAVAILABLE', found.reason, { field: 'backend' });
  }
  if (!warned) {
    warned = true;
    process.emitWarning(`slow TypeScript kernels are in use: ${found.reason}`, {
      type: 'SoftpackWarning',
      code: 'SOFTPACK_REFERENCE_KERNELS',
    });
  }
  return referenceKernels;
}

function cudaKernels(): Kernels {
  const cuda = findCuda({ start: true });
  if (cuda.state === 'ready') return cuda.kernels;
  const code = cuda.state === 'lost' ? 'DEVICE_LOST' : 'BACKEND_UNAVAILABLE';
  throw new SoftpackError(code, `the CUDA backend is ${cuda.state}: ${cuda.reason}`, {
    field: 'backend',
  });
}

/** One entry per backend. Takes no memory of a GPU: a context is created when its kernels are first loaded. */
export function kernelStatus(): readonly KernelStatus[] {
  const { state, reason } = findCuda({ start: false });
  return [
    cpuStatus(),
    { name: 'cuda', state, reason },
    { name: 'reference', state: 'ready', reason: 'plain TypeScript, one thread' },
  ];
}

function cpuStatus(): KernelStatus {
  const found = findAddon();
  if (found.state !== 'ready') return { name: 'cpu', state: found.state, reason: found.reason };
  const { availableIsas, processors } = found.info;
  const reason = `${found.isa} (available: ${availableIsas}), ${processors} threads`;
  const { memoryBytes } = found.addon.info();
  return { name: 'cpu', state: 'ready', reason, memoryBytes };
}

function chosenBackend(asked: string | undefined): BackendName {
  const forced = process.env.SOFTPACK_BACKEND;
  const fromEnvironment = (asked === undefined || asked === 'auto') && forced !== undefined;
  const name = fromEnvironment && forced !== '' ? forced : (asked ?? 'auto');
  const backend = BACKENDS.find((known) => known === name);
  if (backend === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'unknown backend', {
      field: fromEnvironment ? 'SOFTPACK_BACKEND' : 'backend',
      expected: BACKENDS.join(', '),
      found: name,
    });
  }
  return backend;
}
