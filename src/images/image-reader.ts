import type { PixelSource } from '../augment/replay.js';

/** Reads and decodes images in one thread. */
export interface ImageReader extends Disposable {
  readonly count: number;
  /**
   * The pixels of these samples, each read once however often it occurs. They are valid until the next call, which may
   * reuse their memory; one call at a time.
   *
   * @param stopped Asked before every image: true ends the call with `ABORTED`.
   * @throws `NOT_FOUND` or `INVALID_FILE` naming the image's file, `CORRUPT_DATA` naming the block of a packed file
   *   that does not match its checksum.
   */
  read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource>;
}
