/** `tensorflow`: native, through tfjs-node(-gpu). `wasm`: everywhere. `cpu`: plain JavaScript, for checks only. */
export type BackendName = 'tensorflow' | 'wasm' | 'cpu';

export const BACKENDS: readonly BackendName[] = ['tensorflow', 'wasm', 'cpu'];
