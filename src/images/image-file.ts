import { readLocalFile } from '../store/local.js';

/** Limit of an image file: twice the largest bitmap that can be decoded. */
const MAX_IMAGE_BYTES = 2 ** 30;

/** An encoded image; `INVALID_FILE` for pipes, devices and folders. */
export function readImageFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return readLocalFile(path, MAX_IMAGE_BYTES);
}
