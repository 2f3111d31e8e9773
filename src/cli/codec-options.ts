import type { Command } from 'commander';
import type { CodecChoice } from '../codec/choice.js';
import { SoftpackError } from '../errors.js';
import { positiveInteger, positiveNumber } from './options.js';

export interface CodecFlags {
  readonly ratio?: number;
  readonly dh?: number;
  readonly dc?: number;
  readonly k?: number;
}

export function addCodecOptions(command: Command): Command {
  return command
    .option(
      '-r, --ratio <x>',
      'how many times smaller than float16 the codes shall be',
      positiveNumber,
    )
    .option('--dh <n>', 'latent length, instead of --ratio', positiveInteger)
    .option('--dc <n>', 'segment length, divides dh', positiveInteger)
    .option('--k <n>', 'codewords, a power of two', positiveInteger);
}

export function codecOf({ ratio, dh, dc, k }: CodecFlags): CodecChoice {
  if (ratio !== undefined && dh === undefined && dc === undefined && k === undefined)
    return { ratio };
  if (ratio === undefined && dh !== undefined && dc !== undefined && k !== undefined) {
    return { dh, dc, k };
  }
  throw new SoftpackError('INVALID_ARGUMENT', 'give either --ratio, or --dh, --dc and --k', {
    field: '--ratio',
  });
}

/** A codec in a few words: `vqae (dh 1000, dc 25, k 512)`. */
export function codecWords({
  name,
  config,
}: {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
}): string {
  const own = Object.entries(config).filter(([key]) => !['classes', 'tau', 'eps'].includes(key));
  return own.length === 0
    ? name
    : `${name} (${own.map(([key, value]) => `${key} ${value}`).join(', ')})`;
}
