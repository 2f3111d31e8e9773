import { apart, typedArray } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import type { PackArgs, UnpackArgs } from '../types.js';
import { bitWidth, given, holdsBits, size } from './sizes.js';

export function checkPack(args: PackArgs): Required<PackArgs> {
  const bits = bitWidth(given(args).bits);
  const indices = typedArray('indices', args.indices, 'Uint16Array');
  const bitOffset = size('bitOffset', args.bitOffset ?? 0);
  const out = typedArray('out', args.out, 'Uint8Array');
  holdsBits('out', out, bitOffset + indices.length * bits);
  apart('out', out, { indices });
  const position = indices.findIndex((index) => index >> bits !== 0);
  if (position >= 0) {
    const found = indices[position];
    argument.fail(`indices[${position}]`, 'does not fit', `less than ${2 ** bits}`, found);
  }
  return { indices, bits, out, bitOffset };
}

export function checkUnpack(args: UnpackArgs): Required<UnpackArgs> {
  const bits = bitWidth(given(args).bits);
  const packed = typedArray('packed', args.packed, 'Uint8Array');
  const bitOffset = size('bitOffset', args.bitOffset ?? 0);
  const out = typedArray('out', args.out, 'Uint16Array');
  holdsBits('packed', packed, bitOffset + out.length * bits);
  apart('out', out, { packed });
  return { packed, bits, out, bitOffset };
}
