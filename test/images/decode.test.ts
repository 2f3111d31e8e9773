import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { decodeImage, encodeJpeg } from '#src/images/decode.js';
import { samplePixels } from './fixture.js';

interface Kind {
  readonly file: string;
  readonly mode?: string;
  readonly size?: readonly [number, number];
  /** Hash of PIL's pixels. */
  readonly sha256?: string;
  readonly pixels?: string;
  /** PIL does not read it either. */
  readonly error?: string;
}

/** Written by pil-kinds.py, with PIL. */
const { kinds } = JSON.parse(readFileSync(new URL('pil-kinds.json', import.meta.url), 'utf8')) as {
  readonly kinds: Readonly<Record<string, Kind>>;
};
const bytesOf = (name: string) => Buffer.from(kinds[name].file, 'base64');
const digest = (pixels: Uint8Array) => createHash('sha256').update(pixels).digest('hex');

/** Read by PIL, refused here rather than given other colours: nothing is wrong in silence. */
const REFUSED = [
  ...['ycbcr.tif', 'planes16.tif', 'min-is-white16.tif', 'int8.tif', 'int16.tif'],
  ...['cmyk16.tif', 'zstd.tif'],
];
const names = Object.keys(kinds);
const equal = names.filter(
  (name) => kinds[name].error === undefined && !REFUSED.includes(name) && !name.endsWith('.avif'),
);

describe("pixels are those of PIL's convert('RGB')", () => {
  test('of at least 120 kinds', () => expect(equal.length).toBeGreaterThan(120));

  test.each(equal)('%s', async (name) => {
    const { pixels, height, width } = await decodeImage(bytesOf(name), name);
    expect([height, width]).toEqual(kinds[name].size);
    expect(digest(pixels)).toBe(kinds[name].sha256);
  });

  test.each(REFUSED)('or it is refused: %s', async (name) => {
    await expect(decodeImage(bytesOf(name), name)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: name,
    });
  });

  test.each(names.filter((name) => kinds[name].error !== undefined))(
    'or neither reads it: %s',
    async (name) => {
      await expect(decodeImage(bytesOf(name), name)).rejects.toMatchObject({
        code: expect.stringMatching(/^(INVALID_FILE|UNSUPPORTED)$/),
      });
    },
  );

  test('within 1 of 255 for AVIF without chroma subsampling', async () => {
    const { pixels } = await decodeImage(bytesOf('s444.avif'), 's444.avif');
    const expected = Buffer.from(kinds['s444.avif'].pixels ?? '', 'base64');
    expect(pixels.length).toBe(expected.length);
    expect(Math.max(...pixels.map((value, i) => Math.abs(value - expected[i])))).toBe(1);
  });
});

describe('a size', () => {
  const fit = { kind: 'exact', size: [5, 4] } as const;

  test('is applied to the pixels without alpha, whatever the format', async () => {
    const { pixels, height, width } = await decodeImage(bytesOf('rgba.png'), 'rgba.png');
    const raw = { raw: { height, width, channels: 3 } } as const;
    const opaque = await sharp(pixels, raw).png().toBuffer();
    const expected = await decodeImage(opaque, 'opaque.png', fit);
    expect([expected.height, expected.width]).toEqual([5, 4]);
    expect(await decodeImage(bytesOf('rgba.png'), 'rgba.png', fit)).toEqual(expected);
  });

  test('is the same in one step and in two, down to half the size of a JPEG', async () => {
    const fit = { kind: 'exact', size: [16, 15] } as const;
    const whole = await decodeImage(bytesOf('s422.jpg'), 's422.jpg');
    const png = await sharp(whole.pixels, { raw: { ...whole, channels: 3 } })
      .png()
      .toBuffer();
    const twoSteps = await decodeImage(png, 's422.png', fit);
    expect(await decodeImage(bytesOf('s422.jpg'), 's422.jpg', fit)).toEqual(twoSteps);
  });

  test('shrinks bitmaps and greys too', async () => {
    for (const name of ['rgb24.bmp', 'p6.ppm', 'part.gif', 'l16.png', 'cmyk.jpg', 'cmyk.tif']) {
      const { height, width } = await decodeImage(bytesOf(name), name, fit);
      expect([height, width]).toEqual([5, 4]);
    }
  });
});

test('a JPEG made of one keeps its colours', async () => {
  const raw = { raw: { height: 16, width: 16, channels: 3 } } as const;
  const png = await sharp(samplePixels(1, 16, 16), raw)
    .png()
    .toBuffer();
  const { bytes } = await encodeJpeg(png, 'a.png', 95);
  const { pixels } = await decodeImage(bytes, 'a.jpg');
  const original = samplePixels(1, 16, 16);
  expect(Math.max(...pixels.map((v, i) => Math.abs(v - original[i])))).toBeLessThan(30);
});

describe('is refused', () => {
  const text = (content: string) => Buffer.from(content, 'latin1');
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>';
  const bmp = (height: number, width: number) => {
    const bytes = Buffer.from(bytesOf('rgb24.bmp'));
    bytes.writeInt32LE(width, 18);
    bytes.writeInt32LE(height, 22);
    return bytes;
  };
  const gif = Buffer.from(bytesOf('pal.gif'));
  gif.writeUInt16LE(65_535, 6);
  gif.writeUInt16LE(65_535, 8);
  const png = Buffer.from(bytesOf('rgb.png'));
  png.writeUInt32BE(60_000, 16);
  png.writeUInt32BE(60_000, 20);

  test.each([
    ['an empty file', text('')],
    ['SVG', text(svg)],
    ['SVG after an XML declaration', text(`<?xml version="1.0"?>${svg}`)],
    ['PDF', text('%PDF-1.4\n')],
    ['a HEIC', text('\0\0\0\x18ftypheic\0\0\0\0mif1heic')],
    ['a JPEG 2000', text('\0\0\0\fjP  \r\n\x87\n')],
    ['a macOS resource fork', text('\0\x05\x16\x07\0\x02\0\0Mac OS X        ')],
    ['a bitmap of more pixels than memory', bmp(60_000, 60_000)],
    ['a bitmap of no pixels', bmp(0, 9)],
    ['a bitmap of the most negative height', bmp(-(2 ** 31), 9)],
    ['a GIF of more pixels than memory', gif],
    ['a PNG of more pixels than memory', png],
    ['a PPM of more pixels than memory', text('P6 99999 99999 255\n')],
    ['a PPM whose width has too many digits', text('P6 99999999999 1 255\n')],
    ['a PPM with no end of its header', text('P6 9 #')],
  ])('%s', async (_, bytes) => {
    await expect(decodeImage(bytes, 'x.png')).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining('x.png'),
    });
  });

  test('any of them cut short, by a typed error', async () => {
    for (const name of [
      'rgb.jpg',
      'cmyk.jpg',
      'rgb.png',
      'l16.png',
      'p8.bmp',
      'rle8.bmp',
      'p5.pgm',
      'long.gif',
      'rgb.tif',
    ]) {
      const whole = bytesOf(name);
      for (const share of [0.1, 0.5, 0.9]) {
        const cut = whole.subarray(0, Math.floor(whole.length * share));
        const error = await decodeImage(cut, name).then(
          () => undefined,
          (cause: unknown) => cause as { readonly code: string },
        );
        expect(error?.code, `${name} to ${share}`).toMatch(/^(INVALID_FILE|UNSUPPORTED)$/);
      }
    }
  });

  test('a TIFF whose sides its data cannot hold, before memory is taken for them', async () => {
    for (const name of ['rgb.tif', 'rgb16.tif', 'cmyk.tif']) {
      for (const [tag, value] of [
        [256, 65_536],
        [256, 40_000_000],
        [257, 65_535],
      ] as const) {
        const changed = Buffer.from(bytesOf(name));
        const little = changed[0] === 0x49;
        const u16 = (at: number) => (little ? changed.readUInt16LE(at) : changed.readUInt16BE(at));
        const first = little ? changed.readUInt32LE(4) : changed.readUInt32BE(4);
        for (let at = first + 2; at < first + 2 + 12 * u16(first); at += 12) {
          if (u16(at) !== tag) continue;
          for (const [i, short] of [4, 1].entries()) {
            if (little) changed.writeUInt16LE(short, at + 2 + 2 * i);
            else changed.writeUInt16BE(short, at + 2 + 2 * i);
          }
          if (little) changed.writeUInt32LE(1, at + 4);
          else changed.writeUInt32BE(1, at + 4);
          if (little) changed.writeUInt32LE(value, at + 8);
          else changed.writeUInt32BE(value, at + 8);
        }
        await expect(decodeImage(changed, name)).rejects.toMatchObject({
          code: 'INVALID_FILE',
          message: expect.stringContaining('image size out of range'),
        });
      }
    }
  });

  test('by a typed error or decoded, whichever byte of its header is changed', async () => {
    for (const name of [
      'p8.bmp',
      'alpha0.bmp',
      'rle4.bmp',
      'p3.ppm',
      'p6.ppm',
      'local.gif',
      'rgb16.tif',
    ]) {
      const whole = bytesOf(name);
      for (let at = 0; at < Math.min(whole.length, 70); at++) {
        const changed = Buffer.from(whole);
        changed[at] ^= 0xa5;
        const code = await decodeImage(changed, name).then(
          () => 'decoded',
          (cause: unknown) => (cause as { readonly code: string }).code,
        );
        expect(code, `${name}, byte ${at}`).toMatch(/^(decoded|INVALID_FILE|UNSUPPORTED)$/);
      }
    }
  });
});
