/**
 * Element types of every array that is stored or that crosses into native code, by their safetensors names.
 *
 * `abi` is the number of a type in the kernels' C interface (`SoftpackDtype` of native/core/dtypes.h, compared when
 * the addon loads); types without one never reach a kernel. `name` is what the programming interface calls it.
 */
export const DTYPES = {
  BOOL: { bits: 8 },
  F4: { bits: 4 },
  F6_E2M3: { bits: 6 },
  F6_E3M2: { bits: 6 },
  U8: { bits: 8 },
  I8: { bits: 8 },
  F8_E5M2: { bits: 8 },
  F8_E4M3: { bits: 8 },
  F8_E8M0: { bits: 8 },
  F8_E4M3FNUZ: { bits: 8 },
  F8_E5M2FNUZ: { bits: 8 },
  I16: { bits: 16 },
  U16: { bits: 16 },
  F16: { bits: 16, name: 'float16', abi: 1 },
  BF16: { bits: 16, name: 'bfloat16', abi: 2 },
  I32: { bits: 32 },
  U32: { bits: 32 },
  F32: { bits: 32, name: 'float32', abi: 0 },
  C64: { bits: 64 },
  F64: { bits: 64 },
  I64: { bits: 64 },
  U64: { bits: 64 },
} as const;

export type Dtype = keyof typeof DTYPES;

export function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && Object.hasOwn(DTYPES, value);
}

/** Types that codecs and archives store. */
export const TENSOR_DTYPES = ['U8', 'U16', 'U32', 'I32', 'F16', 'F32', 'F64', 'U64'] as const;

export type TensorDtype = (typeof TENSOR_DTYPES)[number];

export function isTensorDtype(value: unknown): value is TensorDtype {
  return (TENSOR_DTYPES as readonly unknown[]).includes(value);
}

/** Whole bytes of one element of a stored type. */
export function elementBytes(dtype: TensorDtype): number {
  return DTYPES[dtype].bits / 8;
}

/** Types that kernels write, and the array that holds their elements: bit patterns if JavaScript has no such number. */
export const OUTPUT_ARRAYS = {
  F32: 'Float32Array',
  F16: 'Uint16Array',
  BF16: 'Uint16Array',
} as const satisfies Partial<Record<Dtype, string>>;

export type OutputDtype = keyof typeof OUTPUT_ARRAYS;
