import { type Command, Option } from 'commander';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { CodecParameter } from '../codecs/descriptor.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import { SoftpackError } from '../errors.js';
import type { TotalSizeChoice } from '../pipeline/archive-size.js';
import { positiveInteger, positiveNumber } from './options.js';

/** Besides these, the parameters of every codec, by name. */
export interface CodecFlags {
  readonly codec: string;
  readonly ratio?: number;
  readonly megabytes?: number;
}

export function addCodecOptions(command: Command, codecs: CodecRegistry = CODECS): Command {
  command
    .addOption(
      new Option('--codec <name>', 'how labels are stored')
        .choices(codecs.names)
        .default(codecs.names[0]),
    )
    .option(
      '-r, --ratio <x>',
      'compression ratio of the whole archive relative to float16',
      positiveNumber,
    )
    .option('-m, --megabytes <n>', 'size of the whole archive, MB of 1024^2 bytes', positiveNumber);
  const names = new Set(parametersOf(codecs).map(({ parameter }) => parameter.name));
  for (const name of names) command.addOption(optionOf(name, codecs));
  return command;
}

interface Owned {
  readonly codec: string;
  readonly parameter: CodecParameter;
}

function parametersOf(codecs: CodecRegistry): readonly Owned[] {
  return codecs.descriptors.flatMap(({ name, parameters }) =>
    parameters
      .filter(({ libraryOnly }) => !libraryOnly)
      .map((parameter) => ({ codec: name, parameter })),
  );
}

/** One option for all codecs that have a parameter of this name, explained for each. */
function optionOf(name: string, codecs: CodecRegistry): Option {
  const owned = parametersOf(codecs).filter(({ parameter }) => parameter.name === name);
  const meanings = new Set(owned.map(({ parameter }) => parameter.words));
  const words = [...meanings].map((meaning) => {
    const owners = owned.filter(({ parameter }) => parameter.words === meaning);
    return `${owners.map(({ codec }) => codec).join(', ')}: ${meaning}`;
  });
  const values = owned.flatMap(({ parameter }) => parameter.values ?? []);
  if (values.length > 0) {
    return new Option(`--${name} <value>`, words.join('; ')).choices([...new Set(values)]);
  }
  const isGoal = owned.some(({ parameter }) => parameter.kind === 'goal');
  const parser = isGoal ? positiveNumber : positiveInteger;
  return new Option(`--${name} <n>`, words.join('; ')).argParser(parser);
}

/** Whether the command line says anything about the size of the codec. */
export function givesSize(flags: CodecFlags, codecs: CodecRegistry = CODECS): boolean {
  const sizes = parametersOf(codecs).filter(({ parameter }) => parameter.kind !== 'form');
  return (
    isTotal(flags) || sizes.some(({ parameter }) => given(flags, parameter.name) !== undefined)
  );
}

function isTotal({ ratio, megabytes }: CodecFlags): boolean {
  return ratio !== undefined || megabytes !== undefined;
}

/** Epochs to store as asked for; weighed where a codec of few bits per label is to fit a size. */
export function keepOf(
  flags: CodecFlags & { readonly keep?: number; readonly prune?: number },
  codecs: CodecRegistry = CODECS,
): number | 'auto' | undefined {
  const isOpen = flags.keep === undefined && flags.prune === undefined;
  const weighs = codecs.find(flags.codec)?.weighsEpochs === true;
  return isOpen && weighs && isTotal(flags) ? 'auto' : flags.keep;
}

function given(flags: CodecFlags, name: string): unknown {
  return (flags as unknown as Readonly<Record<string, unknown>>)[name];
}

/** The choice that the options make; `INVALID_ARGUMENT` naming the option that is missing or misplaced. */
export function codecOf(
  flags: CodecFlags,
  codecs: CodecRegistry = CODECS,
): CodecChoice | TotalSizeChoice {
  const { codec: name, ratio, megabytes } = flags;
  const all = parametersOf(codecs);
  const own = all.filter(({ codec }) => codec === name).map(({ parameter }) => parameter);
  const stray = all.find(
    ({ parameter }) =>
      given(flags, parameter.name) !== undefined &&
      own.every((mine) => mine.name !== parameter.name),
  );
  if (stray !== undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', `not an option of codec ${name}`, {
      field: `--${stray.parameter.name}`,
    });
  }
  const named = (kind: CodecParameter['kind']) =>
    own.filter((parameter) => parameter.kind === kind).map((parameter) => parameter.name);
  const [sizes, goals] = [named('size'), named('goal')];
  const isGiven = (parameter: string) => given(flags, parameter) !== undefined;
  const reached = goals.filter(isGiven).length;
  const total = [ratio, megabytes].filter((value) => value !== undefined).length;
  const anySize = sizes.some(isGiven);
  // One way of saying how large it is.
  const ways = total + reached + (anySize ? 1 : 0);
  const isSized = anySize ? sizes.every(isGiven) : ways === 1 || sizes.length + goals.length === 0;
  const hasSize = sizes.length + goals.length > 0;
  if (ways > 1 || !isSized || (total > 0 && !hasSize)) {
    throw new SoftpackError('INVALID_ARGUMENT', `codec ${name} takes ${waysOf(sizes, goals)}`, {
      field: '--ratio',
    });
  }
  const parameters = own.map((parameter) => [parameter.name, given(flags, parameter.name)]);
  const values = parameters.filter(([, value]) => value !== undefined);
  return {
    name,
    ...(ratio === undefined ? {} : { totalRatio: ratio }),
    ...(megabytes === undefined
      ? {}
      : { totalBytes: Math.max(1, Math.floor(megabytes * 2 ** 20)) }),
    ...Object.fromEntries(values),
  } as CodecChoice;
}

/** What the sizes of a codec are chosen by, in words. */
function waysOf(sizes: readonly string[], goals: readonly string[]): string {
  if (sizes.length + goals.length === 0) return 'no size';
  const ways = ['--ratio', '--megabytes', ...goals.map((goal) => `--${goal}`)];
  const all = sizes.map((size) => `--${size}`).join(' and ');
  const others = sizes.length === 0 ? [] : [all];
  return `one of ${[...ways, ...others].join(', ')}`;
}
