import { float16ToFloat32 } from '../../core/half.js';
import { type FloatDtype, floatsOf } from '../../labels/elements.js';

/** How ggml stores numbers of one type: blocks of so many elements and bytes. */
export interface GgufType {
  readonly name: string;
  readonly elements: number;
  readonly bytes: number;
  /** Whole blocks as float32. @param bytes at the start of a buffer of their own. */
  read(bytes: Uint8Array): Float32Array;
}

/** Fills `out`, the elements of the block that begins at byte `at`. */
type ReadBlock = (view: DataView, at: number, out: Float32Array) => void;

const SMALL = 32;
const LARGE = 256;

function floats(name: FloatDtype, bytes: number): GgufType {
  return { name, elements: 1, bytes, read: (all) => floatsOf(all, name) };
}

function blocks(name: string, elements: number, bytes: number, readBlock: ReadBlock): GgufType {
  return {
    ...{ name, elements, bytes },
    read(all) {
      const view = new DataView(all.buffer, all.byteOffset, all.length);
      const out = new Float32Array((all.length / bytes) * elements);
      for (let at = 0, to = 0; at < all.length; at += bytes, to += elements) {
        readBlock(view, at, out.subarray(to, to + elements));
      }
      return out;
    },
  };
}

const half = { bits: new Uint16Array(1), value: new Float32Array(1) };

function float16(view: DataView, at: number): number {
  half.bits[0] = view.getUint16(at, true);
  float16ToFloat32(half.bits, half.value);
  return half.value[0];
}

/** Four bits of each element: the low ones of bytes are the first half of 32 elements, the high ones the second. */
function nibbles(view: DataView, at: number, out: Float32Array): void {
  for (let i = 0; i < SMALL / 2; i++) {
    const byte = view.getUint8(at + i);
    out[i] = byte & 15;
    out[i + SMALL / 2] = byte >> 4;
  }
}

/** Adds the fifth bit of each element. */
function fifths(view: DataView, at: number, out: Float32Array): void {
  const bits = view.getUint32(at, true);
  for (let i = 0; i < SMALL; i++) out[i] += 16 * ((bits >>> i) & 1);
}

function scale(out: Float32Array, factor: number, added: number): void {
  for (let i = 0; i < out.length; i++) out[i] = factor * out[i] + added;
}

/** Scale and least value of part `i` of 8 of a large block, 6 bits each. */
function sixBits(view: DataView, at: number, i: number): readonly [number, number] {
  const byte = (j: number) => view.getUint8(at + j);
  if (i < 4) return [byte(i) & 63, byte(i + 4) & 63];
  const both = byte(i + 4);
  return [(both & 15) | ((byte(i - 4) >> 6) << 4), (both >> 4) | ((byte(i) >> 6) << 4)];
}

/** Blocks of 8 parts with a scale and a least value each; `high`: where a fifth bit of each element is. */
function parted(view: DataView, at: number, low: number, high: number | undefined) {
  const [factor, least] = [float16(view, at), float16(view, at + 2)];
  return (out: Float32Array) => {
    for (let part = 0; part < 8; part++) {
      const [by, under] = sixBits(view, at + 4, part);
      const own = out.subarray(part * SMALL, (part + 1) * SMALL);
      for (let i = 0; i < SMALL; i++) {
        const byte = view.getUint8(low + (part >> 1) * SMALL + i);
        const top = high === undefined ? 0 : (view.getUint8(high + i) >> part) & 1;
        own[i] = ((part & 1) === 0 ? byte & 15 : byte >> 4) + 16 * top;
      }
      scale(own, factor * by, -least * under);
    }
  };
}

/** Six bits of each element, of which ql has four and qh two, with a scale for each 16. */
function sixBitBlock(view: DataView, at: number, out: Float32Array): void {
  const factor = float16(view, at + 208);
  for (let i = 0; i < LARGE; i++) {
    const [side, quarter, place] = [i >> 7, (i >> 5) & 3, i & 31];
    const low = view.getUint8(at + 64 * side + 32 * (quarter & 1) + place);
    const high = view.getUint8(at + 128 + 32 * side + place);
    const code = ((quarter < 2 ? low : low >> 4) & 15) | (((high >> (2 * quarter)) & 3) << 4);
    out[i] = factor * view.getInt8(at + 192 + (i >> 4)) * (code - 32);
  }
}

/** By ggml's number of the type. */
export const GGUF_TYPES: ReadonlyMap<number, GgufType> = new Map([
  [0, floats('F32', 4)],
  [1, floats('F16', 2)],
  [30, floats('BF16', 2)],
  [
    2,
    blocks('Q4_0', SMALL, 18, (view, at, out) => {
      nibbles(view, at + 2, out);
      const factor = float16(view, at);
      scale(out, factor, -8 * factor);
    }),
  ],
  [
    3,
    blocks('Q4_1', SMALL, 20, (view, at, out) => {
      nibbles(view, at + 4, out);
      scale(out, float16(view, at), float16(view, at + 2));
    }),
  ],
  [
    6,
    blocks('Q5_0', SMALL, 22, (view, at, out) => {
      nibbles(view, at + 6, out);
      fifths(view, at + 2, out);
      const factor = float16(view, at);
      scale(out, factor, -16 * factor);
    }),
  ],
  [
    7,
    blocks('Q5_1', SMALL, 24, (view, at, out) => {
      nibbles(view, at + 8, out);
      fifths(view, at + 4, out);
      scale(out, float16(view, at), float16(view, at + 2));
    }),
  ],
  [
    8,
    blocks('Q8_0', SMALL, 34, (view, at, out) => {
      const factor = float16(view, at);
      for (let i = 0; i < SMALL; i++) out[i] = factor * view.getInt8(at + 2 + i);
    }),
  ],
  [12, blocks('Q4_K', LARGE, 144, (view, at, out) => parted(view, at, at + 16, undefined)(out))],
  [13, blocks('Q5_K', LARGE, 176, (view, at, out) => parted(view, at, at + 48, at + 16)(out))],
  [14, blocks('Q6_K', LARGE, 210, sixBitBlock)],
]);
