import type { LlamaPackage } from '#src/interop/tokens/llama-teacher.js';

export const V: number;
export function stub(counts?: { evaluated: number; disposed: number }): LlamaPackage;
export function probabilitiesOf(history: number): Map<number, number>;
