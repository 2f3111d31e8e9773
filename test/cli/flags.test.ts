import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram } from '#src/cli/run.js';

const silent = { write: () => true };
const io = { stdout: silent, stderr: silent, signal: new AbortController().signal };
const program = await createProgram(io);

function everyOption(command: Command): readonly { at: string; short?: string; long?: string }[] {
  const own = command.options.map(({ short, long }) => ({ at: command.name(), short, long }));
  return [...own, ...command.commands.flatMap(everyOption)];
}

const options = everyOption(program);

test('a letter means one thing in every command', () => {
  expect(options.length).toBeGreaterThan(50);
  const meanings = new Map<string, Set<string | undefined>>();
  for (const { short, long } of options) {
    if (short !== undefined) meanings.set(short, (meanings.get(short) ?? new Set()).add(long));
  }
  const ambiguous = [...meanings].filter(([, longs]) => longs.size > 1);
  expect(ambiguous).toEqual([]);
});

test('an option has its letter in every command that has it', () => {
  const letters = new Map(options.flatMap(({ short, long }) => (short ? [[long, short]] : [])));
  const lacking = options.filter(({ short, long }) => letters.get(long) !== short);
  expect(lacking).toEqual([]);
});

test('letters that mean different things do not differ by case alone, epochs and their number aside', () => {
  const letters = new Set(options.flatMap(({ short }) => short ?? []));
  const pairs = [...letters].filter((letter) => letters.has(letter.toUpperCase()));
  expect(pairs.filter((letter) => letter !== letter.toUpperCase())).toEqual(['-e']);
});
