import type { LlamaPackage } from '#src/interop/tokens/llama-teacher.js';

export const V: number;
export const WIDTH: number;
export const HEAD: Float32Array;
export function stub(counts?: { evaluated: number; disposed: number }): LlamaPackage;
export function probabilitiesOf(history: number): Map<number, number>;
