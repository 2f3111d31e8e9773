import { InvalidArgumentError, Option } from 'commander';
import { RESAMPLES, ROUNDS } from '../kernels/augment-args.js';

/** Parsers of option values; a bad value is a usage error that names the option. */

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError('Must be a positive integer.');
  }
  return value;
}

export function nonNegativeInteger(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError('Must be an integer of 0 or more.');
  }
  return value;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0)
    throw new InvalidArgumentError('Must be a positive number.');
  return value;
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
