import { apart, floats, typedArray } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import { OUTPUT_ARRAYS, type OutputDtype } from '../../core/dtypes.js';
import type { DecodeLatentsArgs, LatentDecoderSpec } from '../latents.js';
import { outputDtype } from './labels.js';
import { flag, given, positive, quotient, threads } from './sizes.js';

export type CheckedDecodeLatents = Required<DecodeLatentsArgs> & {
  readonly count: number;
  readonly dtype: OutputDtype;
};

export function checkLatentDecoderSpec(spec: LatentDecoderSpec): LatentDecoderSpec {
  const bias = floats('bias', given(spec).bias);
  argument.that(bias.length > 0, 0, 'bias', 'at least one class');
  const basis = floats('basis', spec.basis);
  const rows = quotient('basis', basis.length, bias.length, 'classes');
  argument.that(rows > 0, 0, 'basis', 'at least one row');
  flag('fastest', spec.fastest);
  return spec;
}

export function checkDecodeLatents(
  { basis, bias }: LatentDecoderSpec,
  args: DecodeLatentsArgs,
): CheckedDecodeLatents {
  const latents = floats('latents', given(args).latents);
  const classes = bias.length;
  const count = quotient('latents', latents.length, basis.length / classes, 'latent');
  positive('tau', args.tau);
  const dtype = outputDtype(args);
  const out = typedArray('out', args.out, OUTPUT_ARRAYS[dtype], count * classes);
  apart('out', out, { latents });
  return { latents, tau: args.tau, out, dtype, count, threads: threads(args.threads) };
}
