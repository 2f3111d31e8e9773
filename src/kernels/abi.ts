import { DTYPES, OUTPUT_ARRAYS, type OutputDtype } from '../core/dtypes.js';
import { MAX_SIDE } from '../core/limits.js';
import { RESAMPLES, ROUNDS, VIEW } from './augment-args.js';

/**
 * Numbers and layouts of the kernels' C interface (native/core/backend.h). The addon exports the same tables from
 * its own headers (native/binding/abi.cc); an addon that differs is refused when it loads.
 */

export const HEADS = { identity: 0, clamp: 1, softmax: 2 } as const;

export const METHODS = { auto: 0, latent: 1, table: 2, fixed: 3, bfloat: 4, split: 5 } as const;

export const PRECISIONS = { exact: 0, fast: 1, fastest: 2 } as const;

export const LOSSES = { kl: 0, 'cross-entropy': 1 } as const;

/** Statuses that TypeScript tells apart. A failed constructor's error has its status as `status`. */
export const STATUSES = {
  ok: 0,
  invalidArgument: 1,
  invalidCodes: 2,
  outOfMemory: 3,
  unsupportedMethod: 5,
  deviceLost: 7,
  notFinite: 9,
  deviceRefused: 10,
} as const;

type Table = Readonly<Record<string, number>>;

const OUTPUTS = Object.keys(OUTPUT_ARRAYS) as readonly OutputDtype[];

const ABI: Readonly<Record<string, Table>> = {
  dtypes: byName((dtype) => DTYPES[dtype].abi),
  dtypeBytes: byName((dtype) => DTYPES[dtype].bits / 8),
  heads: HEADS,
  methods: METHODS,
  precisions: PRECISIONS,
  losses: LOSSES,
  statuses: STATUSES,
  view: VIEW,
  resamples: positions(RESAMPLES),
  rounds: positions(ROUNDS),
  limits: { maxSide: MAX_SIDE },
};

function positions(names: readonly string[]): Table {
  return Object.fromEntries(names.map((name, i) => [name, i]));
}

function byName(value: (dtype: OutputDtype) => number): Table {
  return Object.fromEntries(OUTPUTS.map((dtype) => [DTYPES[dtype].name, value(dtype)]));
}

/** The first number on which an addon's tables differ from these, in words; undefined if none does. */
export function abiDifference(found: unknown): string | undefined {
  for (const [name, table] of Object.entries(ABI)) {
    const other = Reflect.get(Object(found), name) as unknown;
    const keys = new Set([...Object.keys(table), ...Object.keys(Object(other))]);
    for (const key of keys) {
      const value = Reflect.get(Object(other), key) as unknown;
      if (value !== table[key]) return `${name}.${key} is ${value}, expected ${table[key]}`;
    }
  }
  return undefined;
}
