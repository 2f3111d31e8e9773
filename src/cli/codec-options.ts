import { type Command, Option } from 'commander';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { CodecParameter } from '../codecs/descriptor.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import { SoftpackError } from '../errors.js';
import type { TotalRatioChoice } from '../pipeline/archive-size.js';
import { positiveInteger, positiveNumber } from './options.js';

/** Besides these, the parameters of every codec, by name. */
export interface CodecFlags {
  readonly codec: string;
  readonly ratio?: number;
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
    );
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
  return new Option(`--${name} <n>`, words.join('; ')).argParser(positiveInteger);
}

/** Whether the command line says anything about the size of the codec. */
export function givesSize(flags: CodecFlags, codecs: CodecRegistry = CODECS): boolean {
  const sizes = parametersOf(codecs).filter(({ parameter }) => parameter.kind === 'size');
  const sized = sizes.some(({ parameter }) => given(flags, parameter.name) !== undefined);
  return flags.ratio !== undefined || sized;
}

function given(flags: CodecFlags, name: string): unknown {
  return (flags as unknown as Readonly<Record<string, unknown>>)[name];
}

/** The choice that the options make; `INVALID_ARGUMENT` naming the option that is missing or misplaced. */
export function codecOf(
  flags: CodecFlags,
  codecs: CodecRegistry = CODECS,
): CodecChoice | TotalRatioChoice {
  const { codec: name, ratio } = flags;
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
  const sizes = own.filter(({ kind }) => kind === 'size').map((parameter) => parameter.name);
  const present = sizes.filter((size) => given(flags, size) !== undefined);
  const sized = present.length === sizes.length && ratio === undefined;
  const byRatio = present.length === 0 && ratio !== undefined && sizes.length > 0;
  if (!sized && !byRatio) {
    const parameters = sizes.map((size) => `--${size}`).join(' and ');
    const expected = sizes.length === 0 ? 'no size' : `either --ratio, or ${parameters}`;
    throw new SoftpackError('INVALID_ARGUMENT', `codec ${name} takes ${expected}`, {
      field: '--ratio',
    });
  }
  const parameters = own.map((parameter) => [parameter.name, given(flags, parameter.name)]);
  const values = parameters.filter(([, value]) => value !== undefined);
  return {
    name,
    ...(byRatio ? { totalRatio: ratio } : {}),
    ...Object.fromEntries(values),
  } as CodecChoice;
}
