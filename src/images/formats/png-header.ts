import type { ImageBytes } from './image-bytes.js';

/** Grey of 16 bits without alpha, which PIL keeps as such and cuts at 255. */
export function pngIsGrey16(file: ImageBytes): boolean {
  // The header chunk comes first: its bit depth and colour type.
  return file.u8(24) === 16 && file.u8(25) === 0;
}
