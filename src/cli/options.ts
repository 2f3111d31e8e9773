import { InvalidArgumentError, Option } from 'commander';
import { FieldChecker, type Problem } from '../core/check.js';
import { RESAMPLES, ROUNDS } from '../kernels/augment-args.js';

/** Parsers of option values; a bad value is a usage error that names the option. */

class OptionChecker extends FieldChecker {
  protected override report({ expected }: Problem): void {
    throw new InvalidArgumentError(`Must be ${expected}.`);
  }
}

const option = new OptionChecker('', 'INVALID_ARGUMENT');

export function positiveInteger(text: string): number {
  return option.count(numberOf(text), '', 1);
}

export function nonNegativeInteger(text: string): number {
  return option.count(numberOf(text), '', 0);
}

export function positiveNumber(text: string): number {
  return option.positive(numberOf(text), '');
}

/** From 0 to 1, both included. */
export function shareOf(text: string): number {
  return option.number(numberOf(text), '', 0, 1);
}

function numberOf(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** `lpqld`, or temperatures with commas between them. */
function tauScheduleOf(text: string): 'lpqld' | readonly number[] {
  if (text === 'lpqld') return text;
  return text.split(',').map(positiveNumber);
}

export function tauScheduleOption(): Option {
  const words =
    'temperatures of the epochs: lpqld (times 0.7 after every tenth of them), or a list for equal shares of them: 20,14,10';
  return new Option('--tau-schedule <list>', words).argParser(tauScheduleOf);
}

export function resampleOption(words: string): Option {
  return new Option('--resample <kind>', words).choices(RESAMPLES);
}

export function roundOption(words: string): Option {
  return new Option('--round <kind>', words).choices(ROUNDS);
}

/** `from:to`, `from:` or `:to` as in Python; `end` stands for a missing right side. */
export interface Slice {
  readonly from: number;
  readonly to: number | 'end';
}

export function slice(text: string): Slice {
  const match = /^(\d*):(\d*)$/.exec(text);
  if (match === null) throw new InvalidArgumentError('Must be a range like 0:100.');
  const from = match[1] === '' ? 0 : Number(match[1]);
  const to = match[2] === '' ? 'end' : Number(match[2]);
  if (to !== 'end' && to < from) throw new InvalidArgumentError('The range ends before it starts.');
  return { from, to };
}
