import { throwIfAborted } from '../errors.js';

/** A stream that a command writes to. */
export interface Output {
  /** False if it is full: more is to wait for `drain`. */
  write(data: string | Uint8Array): unknown;
  once?(event: 'drain', listener: () => void): unknown;
  readonly isTTY?: boolean;
  /** Characters per line of a terminal. */
  readonly columns?: number;
  /** Nobody wants to see progress. */
  readonly quiet?: boolean;
}

/** The part of its process that a command uses. */
export interface CliIo {
  /** Results. */
  readonly stdout: Output;
  /** Progress and errors. */
  readonly stderr: Output;
  /** Aborted to stop the command; an {@link Interruption} as its reason gives the exit code. */
  readonly signal: AbortSignal;
}

/** The reason of a command's end by a signal of the system. */
export class Interruption extends Error {
  /** 128 + the number of the signal, as shells count. */
  readonly exitCode: number;

  constructor(name: string, exitCode: number) {
    super(`stopped by ${name}`);
    this.name = 'Interruption';
    this.exitCode = exitCode;
  }
}

/** Ends a command that has printed everything, with its own exit code. */
export class ExitWith extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.name = 'ExitWith';
    this.exitCode = exitCode;
  }
}

/** Writes a part of a large result, and waits until there is room for more. */
export async function pour({ stdout, signal }: CliIo, data: string | Uint8Array): Promise<void> {
  throwIfAborted(signal);
  if (stdout.write(data) !== false || stdout.once === undefined) return;
  const drained = new Promise<void>((resolve) => stdout.once?.('drain', resolve));
  // A pipe that nobody reads any more never drains.
  const aborted = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([drained, aborted]);
}

/** Writes a result as a line, or several. */
export function print({ stdout }: CliIo, text: string): void {
  stdout.write(`${printable(text)}\n`);
}

/**
 * Text with control characters as JSON escapes: names and values from files must not command the terminal.
 * Newlines and tabs stay; so does what JSON says, as it has no other use for these characters.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    return `\\u${code}`;
  });
}

/** C0 and C1 controls, delete, and the marks that change the direction of the text around them. */
const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
