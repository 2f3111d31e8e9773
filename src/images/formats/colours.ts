/** RGB from four inks per pixel by PIL's formula: (255 - ink) times (255 - black), rounded. */
export function cmykToRgb(inks: Uint8Array): Uint8Array {
  const pixels = new Uint8Array((inks.length / 4) * 3);
  for (let i = 0, to = 0; i < inks.length; i += 4) {
    const light = 255 - inks[i + 3];
    for (let channel = 0; channel < 3; channel++) {
      const product = inks[i + channel] * light + 128;
      pixels[to++] = Math.max(0, light - (((product >> 8) + product) >> 8));
    }
  }
  return pixels;
}

/**
 * RGB from grey of 16 bits, in the machine's byte order. PIL keeps values up to 255 and cuts all others there: such images
 * come out nearly white, also in torchvision.
 */
export function grey16ToRgb(bytes: Uint8Array): Uint8Array {
  const count = bytes.length / 2;
  const pixels = new Uint8Array(3 * count);
  for (let i = 0; i < count; i++) {
    pixels.fill(bytes[2 * i + 1] > 0 ? 255 : bytes[2 * i], 3 * i, 3 * i + 3);
  }
  return pixels;
}
