import type { ImageBytes } from './image-bytes.js';

/** Colour components of a JPEG: 1 grey, 3 colour, 4 CMYK. 0 if no frame header is found, for libjpeg to refuse. */
export function jpegComponents({ bytes }: ImageBytes): number {
  let at = 2;
  while (at + 9 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1];
    if (marker === 0xff) at += 1;
    else if (isFrameHeader(marker)) return bytes[at + 9];
    else at += 2 + (bytes[at + 2] << 8) + bytes[at + 3];
  }
  return 0;
}

/** SOF0 to SOF15 without DHT, JPG and DAC, which have numbers in that range. */
function isFrameHeader(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}
