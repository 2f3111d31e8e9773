import { crc32, deflateSync } from 'node:zlib';

/** A PNG of 8-bit samples [height, width, channels], written byte by byte here: nothing of what decodes it. */
export function png(
  [height, width]: readonly [number, number],
  samples: Uint8Array,
  channels: 1 | 3 | 4 = 3,
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, { 1: 0, 3: 2, 4: 6 }[channels], 0, 0, 0], 8);
  const rows = Array.from({ length: height }, (_, y) => [
    Buffer.of(0),
    samples.subarray(y * width * channels, (y + 1) * width * channels),
  ]);
  const signature = Buffer.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const pixels = deflateSync(Buffer.concat(rows.flat()));
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', pixels),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}

/** Samples that differ from pixel to pixel, smooth enough to survive a resize. */
export function gradient([height, width]: readonly [number, number], shift = 0): Uint8Array {
  const samples = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      samples[at] = (255 * x) / width;
      samples[at + 1] = (255 * y) / height;
      samples[at + 2] = shift;
    }
  }
  return samples;
}
