import { SoftpackError } from '../errors.js';
import { findAddon } from './addon.js';
import { createCpuKernels } from './cpu.js';
import type { Kernels } from './kernels.js';
import { referenceKernels } from './reference/kernels.js';

const BACKENDS = ['auto', 'cpu', 'reference'] as const;

export type BackendName = (typeof BACKENDS)[number];

export interface LoadKernelsOptions {
  /**
   * `cpu`: the addon, else `BACKEND_UNAVAILABLE`. `reference`: plain TypeScript. `auto` (default): what the
   * environment variable SOFTPACK_BACKEND names, else the addon, else the reference with one process warning.
   */
  readonly backend?: BackendName;
}

/** What keeps a backend from being used, or that nothing does. */
export interface KernelStatus {
  readonly name: string;
  /** `ready`, or what the backend is instead. */
  readonly state: string;
  /** For people: what was found, and what to type where something is missing. */
  readonly reason: string;
}

let warned = false;

/** The kernels to use. Loads the addon once a thread; cheap to call again. */
export function loadKernels(options: LoadKernelsOptions = {}): Kernels {
  const backend = chosenBackend(options.backend);
  if (backend === 'reference') return referenceKernels;
  const found = findAddon();
  if (found.state === 'ready') return createCpuKernels(found.addon, found.isa);
  // A wrong SOFTPACK_ISA is a mistake to hear of, not a machine to make the best of.
  if (backend === 'cpu' || found.state === 'unsupported') {
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

/** One entry a backend, in the order of preference. */
export function kernelStatus(): readonly KernelStatus[] {
  return [
    cpuStatus(),
    { name: 'cuda', state: 'absent', reason: 'not part of this build' },
    { name: 'reference', state: 'ready', reason: 'plain TypeScript, one thread' },
  ];
}

function cpuStatus(): KernelStatus {
  const found = findAddon();
  if (found.state !== 'ready') return { name: 'cpu', state: found.state, reason: found.reason };
  const { availableIsas, processors } = found.info;
  const reason = `${found.isa} (available: ${availableIsas}), ${processors} threads`;
  return { name: 'cpu', state: 'ready', reason };
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
