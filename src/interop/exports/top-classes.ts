import { float16ToFloat32 } from '../../core/half.js';

/** The k largest values of a label, largest first; of equal ones those of lower classes. */
export interface TopClasses {
  readonly classes: Uint32Array;
  readonly values: Float32Array;
}

export function topClasses(halves: Uint16Array, k: number): TopClasses {
  const all = new Float32Array(halves.length);
  float16ToFloat32(halves, all);
  const classes = Uint32Array.from(all, (_, j) => j)
    .sort((a, b) => all[b] - all[a] || a - b)
    .slice(0, k);
  return { classes, values: Float32Array.from(classes, (j) => all[j]) };
}
