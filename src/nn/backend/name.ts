/** `tensorflow`: native, through tfjs-node(-gpu). `wasm`: everywhere. `cpu`: plain JavaScript, for checks only. */
export const BACKENDS = ['tensorflow', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];
