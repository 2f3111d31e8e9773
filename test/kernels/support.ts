import { kernelStatus, loadKernels } from '#src/kernels/load.js';
import type { DecoderSpec, Kernels } from '#src/kernels/types.js';

/** The backend under test; `SOFTPACK_TEST_BACKEND=cuda npx vitest run test/native` holds a GPU to the same tests. */
export const cpu: Kernels = loadKernels({
  backend: process.env.SOFTPACK_TEST_BACKEND === 'cuda' ? 'cuda' : 'cpu',
});
export const reference: Kernels = loadKernels({ backend: 'reference' });

/** Mulberry32: a seeded stream of numbers in [0, 1). */
export function randomStream(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomFloats(random: () => number, length: number): Float32Array {
  return Float32Array.from({ length }, () => 2 * random() - 1);
}

export function randomIndices(random: () => number, length: number, levels: number): Uint16Array {
  return Uint16Array.from({ length }, () => Math.floor(random() * levels));
}

/** Instruction sets of this processor and build, slowest first. */
export const isas: readonly string[] =
  /available: ([^)]*)/.exec(kernelStatus()[0]?.reason ?? '')?.[1]?.split(' ') ?? [];

/** Whether this processor multiplies bfloat16. */
export const hasBfloat = isas.includes('avx512_bf16') || isas.includes('amx');

export const POISON = 0xaa;

/** A view with guard elements on both sides; `intact` tells whether the guards still hold their poison. */
export function guarded<T extends Float32Array | Uint16Array | Uint8Array>(
  make: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => T,
  length: number,
  { shared = false, guard = 12 } = {},
): { view: T; intact: () => boolean } {
  const elementBytes = new make(new ArrayBuffer(0), 0, 0).BYTES_PER_ELEMENT;
  const bytes = (length + 2 * guard) * elementBytes;
  const buffer = shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
  const all = new Uint8Array(buffer).fill(POISON);
  const view = new make(buffer, guard * elementBytes, length);
  const intact = () =>
    all.subarray(0, guard * elementBytes).every((byte) => byte === POISON) &&
    all.subarray(bytes - guard * elementBytes).every((byte) => byte === POISON);
  return { view, intact };
}

export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength).slice();
}

/** All codes of `count` labels, packed by the reference. */
export function packedCodes(spec: DecoderSpec, count: number, random: () => number): Uint8Array {
  const indices = randomIndices(random, count * spec.stages, spec.levels);
  const out = new Uint8Array(Math.ceil((count * spec.stages * spec.bits) / 8));
  reference.pack({ indices, bits: spec.bits, out });
  return out;
}

/** VQAE's shape: segments side by side, one shared codebook. */
export function segmentSpec(
  random: () => number,
  sizes: { classes: number; stages: number; width: number; levels: number },
): DecoderSpec {
  const latent = sizes.stages * sizes.width;
  return {
    ...sizes,
    latent,
    codebookStride: 0,
    latentStep: sizes.width,
    bits: Math.max(1, Math.ceil(Math.log2(sizes.levels))),
    codebooks: randomFloats(random, sizes.levels * sizes.width),
    basis: randomFloats(random, latent * sizes.classes),
    head: { kind: 'identity' },
  };
}

/** A residual codec's shape: a codebook a stage, all added in place. */
export function residualSpec(
  random: () => number,
  sizes: { classes: number; stages: number; width: number; levels: number },
): DecoderSpec {
  return {
    ...sizes,
    latent: sizes.width,
    codebookStride: sizes.levels * sizes.width,
    latentStep: 0,
    bits: Math.max(1, Math.ceil(Math.log2(sizes.levels))),
    codebooks: randomFloats(random, sizes.stages * sizes.levels * sizes.width),
    basis: randomFloats(random, sizes.width * sizes.classes),
    bias: randomFloats(random, sizes.classes),
    head: { kind: 'identity' },
  };
}

export function errorOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
