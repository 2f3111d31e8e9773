/**
 * Largest height or width of an image: what a crop's 16-bit columns can name. The kernels have the same bound
 * (`SOFTPACK_MAX_SIDE` of native/core/backend.h).
 */
export const MAX_SIDE = 65_535;
