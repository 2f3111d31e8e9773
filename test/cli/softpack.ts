import { run } from '#src/cli/run.js';

export interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command in this process; `onErr` is shown all that it has written to standard error so far. */
export async function softpack(
  args: readonly string[],
  { signal = new AbortController().signal, onErr = (_: string) => {} } = {},
): Promise<Run> {
  const written = { out: '', err: '' };
  const stdout = {
    write(text: string) {
      written.out += text;
    },
  };
  const stderr = {
    write(text: string) {
      written.err += text;
      onErr(written.err);
    },
  };
  const code = await run(args, { stdout, stderr, signal });
  return { code, ...written };
}
