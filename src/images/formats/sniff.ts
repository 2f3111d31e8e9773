/** The formats that softpack decodes, recognised by content, not by name. */
export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'tiff' | 'avif' | 'gif' | 'bmp' | 'pnm';

const SIGNATURES: readonly (readonly [ImageFormat, RegExp])[] = [
  ['jpeg', /^\xff\xd8\xff/],
  ['png', /^\x89PNG\r\n.\n/],
  ['webp', /^RIFF....WEBP/s],
  ['tiff', /^(II[*+]\0|MM\0[*+])/],
  ['gif', /^GIF8[79]a/],
  ['bmp', /^BM/],
  ['pnm', /^P[1-6][\t-\r ]/],
  // An ISO media file that names AVIF's brand as its own or among the compatible ones.
  ['avif', /^....ftyp(avi[fs]|....(....)*avi[fs])/s],
];

/** Undefined for anything else, whatever the file's name. */
export function imageFormat(bytes: Uint8Array): ImageFormat | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 64));
  const text = head.toString('latin1');
  return SIGNATURES.find(([, pattern]) => pattern.test(text))?.[0];
}
