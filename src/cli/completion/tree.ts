import type { Command, Option } from 'commander';
import { quoted } from '../shell-quote.js';

/** A command as shells complete it. */
export interface CompletedCommand {
  /** Words after `softpack`, e.g. `tokens import`; '' for softpack itself. */
  readonly path: string;
  /** Other words for the same command. */
  readonly aliases: readonly string[];
  readonly commands: readonly Described[];
  readonly options: readonly CompletedOption[];
}

export interface Described {
  readonly name: string;
  readonly description: string;
}

export interface CompletedOption extends Described {
  /** Without the dash. */
  readonly short?: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** All commands below and including `command`. */
export function completedCommands(command: Command, path = ''): readonly CompletedCommand[] {
  const below = (name: string) => (path === '' ? name : `${path} ${name}`);
  const parent = path.slice(0, Math.max(0, path.lastIndexOf(' ')));
  const own = {
    path,
    aliases: path === '' ? [] : command.aliases().map((name) => `${parent} ${name}`.trim()),
    commands: command.commands.map((one) => ({
      name: one.name(),
      description: firstSentence(one.description()),
    })),
    options: command.options.map(completedOption),
  };
  return [own, ...command.commands.flatMap((one) => completedCommands(one, below(one.name())))];
}

function completedOption({ long, short, description, argChoices, required, optional }: Option) {
  return {
    name: (long ?? '').slice(2),
    ...(short && { short: short.slice(1) }),
    description: firstSentence(description),
    takesValue: required || optional,
    choices: argChoices ?? [],
  };
}

/** Shells show one line. */
function firstSentence(text: string): string {
  return text.split(/[;.:](?:\s|$)/, 1)[0];
}

/** The pattern of an option's words for `case`, e.g. `'pack --out'|'pack -o'`. */
export function optionPattern(path: string, { name, short }: CompletedOption): string {
  const words = [`--${name}`, ...(short === undefined ? [] : [`-${short}`])];
  return words.map((word) => quoted(`${path} ${word}`)).join('|');
}

/** Lines of `case` that follow the words of a command line to the command that they name. */
export function pathCases(commands: readonly CompletedCommand[]): readonly string[] {
  return commands
    .filter(({ path }) => path !== '')
    .map(({ path, aliases }) => {
      const words = [path, ...aliases].map((one) => quoted(one.includes(' ') ? one : ` ${one}`));
      return `${words.join('|')}) at=${quoted(path)} ;;`;
    });
}
