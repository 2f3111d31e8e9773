import { type Command, Option } from 'commander';
import type { CodecChoice } from '../codecs/choice.js';
import { SoftpackError } from '../errors.js';
import { positiveInteger, positiveNumber } from './options.js';

export interface CodecFlags {
  readonly codec: CodecName;
  readonly ratio?: number;
  readonly dh?: number;
  readonly dc?: number;
  readonly k?: number;
  readonly levels?: number;
  readonly values?: 'probabilities' | 'logits' | 'none';
  readonly rest?: 'uniform' | 'zero';
}

/** Parameters that each codec takes instead of a ratio, all of them together. */
const PARAMETERS = {
  vqae: ['dh', 'dc', 'k'],
  none: [],
  topk: ['k'],
  pca: ['k'],
  rpca: ['k'],
  scalar: ['levels'],
  vq: ['dc', 'k'],
  mean: [],
} as const;

type CodecName = keyof typeof PARAMETERS;

export function addCodecOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--codec <name>', 'how labels are stored')
        .choices(Object.keys(PARAMETERS))
        .default('vqae'),
    )
    .option(
      '-r, --ratio <x>',
      'how many times smaller than float16 the codes shall be',
      positiveNumber,
    )
    .option('--dh <n>', 'vqae, instead of --ratio: latent length', positiveInteger)
    .option('--dc <n>', 'vqae, vq: segment length; vqae: divides dh', positiveInteger)
    .option(
      '--k <n>',
      'vqae, vq: codewords, a power of two; topk: classes; pca, rpca: components',
      positiveInteger,
    )
    .option('--levels <n>', 'scalar: a power of two', positiveInteger)
    .addOption(
      new Option('--values <what>', 'topk: what is kept beside the class ids').choices([
        'probabilities',
        'logits',
        'none',
      ]),
    )
    .addOption(
      new Option('--rest <how>', 'topk: what the other classes have').choices(['uniform', 'zero']),
    );
}

/** `INVALID_ARGUMENT` naming the option that is missing or out of place. */
export function codecOf(flags: CodecFlags): CodecChoice {
  const { codec: name, ratio, values, rest } = flags;
  const own: readonly (keyof CodecFlags)[] = PARAMETERS[name];
  const sizes = ['dh', 'dc', 'k', 'levels'] as const;
  const stray = sizes.find((size) => flags[size] !== undefined && !own.includes(size));
  const strayForm = name !== 'topk' && (values ?? rest) !== undefined;
  if (stray !== undefined || strayForm) {
    throw new SoftpackError('INVALID_ARGUMENT', `not an option of codec ${name}`, {
      field: `--${stray ?? (values === undefined ? 'rest' : 'values')}`,
    });
  }
  const given = own.filter((size) => flags[size] !== undefined);
  const sized = given.length === own.length && ratio === undefined;
  const byRatio = given.length === 0 && ratio !== undefined && own.length > 0;
  if (!sized && !byRatio) {
    const parameters = own.map((size) => `--${size}`).join(' and ');
    const expected = own.length === 0 ? 'no size' : `either --ratio, or ${parameters}`;
    throw new SoftpackError('INVALID_ARGUMENT', `codec ${name} takes ${expected}`, {
      field: '--ratio',
    });
  }
  const parameters = Object.fromEntries(given.map((size) => [size, flags[size]]));
  const form = name === 'topk' ? { values, rest } : {};
  return { name, ...(byRatio ? { ratio } : parameters), ...form } as CodecChoice;
}
