import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import type { Addon } from '#src/native/addon.js';

const addon = createRequire(import.meta.url)('../../build/Release/softpack.node') as Addon;

const f32 = (length: number) => new Float32Array(length);

// The second line of defence: calls that the checks in TypeScript would never let through.
it('refuses calls that would touch memory that is not their own', () => {
  const calls: readonly (readonly [RegExp, () => unknown])[] = [
    [/^a:/, () => addon.project(f32(5), f32(12), f32(8), 2, 3, 4, false, false, false, 1)],
    [/^b:/, () => addon.project(f32(6), f32(11), f32(8), 2, 3, 4, false, false, false, 1)],
    [/^out:/, () => addon.project(f32(6), f32(12), f32(7), 2, 3, 4, false, false, false, 1)],
    [
      /^a:/,
      () => addon.project(f32(0), f32(0), f32(0), 2 ** 50, 2 ** 50, 0, false, false, false, 1),
    ],
    [/^out:/, () => addon.nearest(f32(6), f32(6), new Uint16Array(1), 3, 1)],
    [/^codebook:/, () => addon.nearest(f32(6), f32(0), new Uint16Array(2), 3, 1)],
    [/^out:/, () => addon.pack(new Uint16Array(9), 8, new Uint8Array(8), 0)],
    [/^packed:/, () => addon.unpack(new Uint8Array(8), 8, new Uint16Array(8), 1)],
    [/^bits:/, () => addon.unpack(new Uint8Array(8), 17, new Uint16Array(1), 0)],
    [/^out:/, () => addon.encode(f32(10), f32(30), f32(12), new Uint8Array(0), 5, 6, 3, 2, 1)],
    [/^codebook:/, () => addon.encode(f32(10), f32(30), f32(15), new Uint8Array(1), 5, 6, 3, 2, 1)],
    [/^latent:/, () => new addon.Decoder(f32(4), f32(8), null, 2, 4, 2, 2, 2, 0, 3, 1, 0, 0, 0)],
    [/^codebooks:/, () => new addon.Decoder(f32(3), f32(8), null, 2, 4, 2, 2, 2, 0, 2, 1, 0, 0, 0)],
  ];
  for (const [named, call] of calls) {
    expect(call).toThrow(TypeError);
    expect(call).toThrow(named);
  }
});

it('answers labels beyond the codes and indices beyond the codebook with a status', () => {
  const decoder = new addon.Decoder(f32(6), f32(8), null, 2, 4, 2, 3, 2, 0, 2, 2, 0, 0, 1);
  const codes = new Uint8Array(1);
  expect(decoder.decode(codes, null, 0, 2, f32(4), 1)).toBe(0);
  expect(addon.statusText(decoder.decode(codes, null, 1, 2, f32(4), 1))).toMatch(/contradict/);
  expect(decoder.decode(codes, Uint32Array.of(2 ** 32 - 1), 0, 1, f32(2), 1)).not.toBe(0);
  codes[0] = 0xff;
  expect(addon.statusText(decoder.decode(codes, null, 0, 1, f32(2), 1))).toMatch(/codebook/);
  decoder.dispose();
  expect(() => decoder.decode(codes, null, 0, 1, f32(2), 1)).toThrow(/disposed/);
});
