import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { EXAMPLES, RESUMED } from '#src/cli/examples.js';
import { Interruption } from '#src/cli/io.js';
import { barLine, createProgress } from '#src/cli/progress.js';
import { createProgram } from '#src/cli/run.js';
import { NpyWriter } from '#src/labels/npy.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const temporary = await temporaryDirectory();
const logits = temporary.path('logits.npy');
{
  await using writer = await NpyWriter.create(logits, [2, 150, 24]);
  await writer.write(syntheticLogits(300, 24));
  await writer.finish();
}

const io = { write: () => true };
const program = await createProgram({ stdout: io, stderr: io, signal: AbortSignal.abort() });

/** Commands that do something; those with others below them do if they have options. */
function runnable(command: Command, path: readonly string[] = []): [string, Command][] {
  const { commands, options } = command;
  const does = commands.length === 0 || (path.length > 0 && options.length > 0);
  const below = commands.flatMap((one) => runnable(one, [...path, one.name()]));
  return does ? [[path.join(' '), command], ...below] : below;
}
const all = runnable(program);

describe.each(all)('help of %s', (name, command) => {
  it('ends with examples that the command takes', async () => {
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text), writeErr: () => undefined });
    command.outputHelp();
    const [, examples = ''] = help.split('\nExamples:\n');
    expect(
      examples
        .trim()
        .split('\n')
        .map((line) => line.trim()),
    ).toEqual(EXAMPLES[name]);
    command.action(() => undefined);
    for (const example of EXAMPLES[name]) {
      const [, words = ''] = /softpack ([^#>)]*)/.exec(example) ?? [];
      await program.parseAsync(words.trim().split(/\s+/), { from: 'user' });
    }
  });

  it('tells defaults in words, not as JSON', () => {
    expect(command.helpInformation().replaceAll(/\s+/g, ' ')).not.toMatch(/default: ?[[{]/);
  });
});

it('examples and resumed commands are of commands that are there', () => {
  const names = all.map(([name]) => name);
  for (const name of [...Object.keys(EXAMPLES), ...RESUMED]) expect(names).toContain(name);
});

describe('bars', () => {
  const words = ['training the codec', 0.42, '3 min 05 s left', 'loss 0.0123'] as const;

  it.each([200, 80, 60, 40, 30, 20, 10])('fit %i columns, and say how far it is', (columns) => {
    const line = barLine(...words, columns);
    expect(line.length).toBeLessThan(columns);
    expect(line).toContain('42%');
  });

  it('keep the time that is left longer than a note, and both longer than a wide bar', () => {
    expect(barLine(...words, 80)).toContain('left');
    expect(barLine(...words, 60)).toContain('left');
    expect(barLine(...words, 120)).toContain('loss');
    expect(barLine(...words, 30)).not.toContain('loss');
  });

  it('are not there for --quiet', async () => {
    const pack = ['pack', logits, '--codec', 'topk', '--k', '3', '--out'];
    const loud = await softpack([...pack, temporary.path('loud')]);
    expect(loud.err).not.toBe('');
    const quiet = await softpack([...pack, temporary.path('quiet'), '-q']);
    expect(quiet).toMatchObject({ code: 0, err: '' });
    expect(quiet.out).toContain('labels');
  });

  it('are redrawn in place on a terminal of 30 columns', () => {
    const written: string[] = [];
    const stream = { isTTY: true, columns: 30, write: (text: string) => written.push(text) };
    const step = createProgress(stream as never).step('images of the second epoch', 10);
    step.update(5, 'a long note about images');
    for (const line of written) expect(line.replace('\r\x1b[K', '').length).toBeLessThan(30);
  });
});

it('says how to go on after an interruption, and goes on', async () => {
  const out = temporary.path('interrupted');
  const command = ['pack', logits, '--dh', '24', '--dc', '8', '--k', '16', '--steps', '400'];
  const interrupt = new AbortController();
  const stopped = await softpack([...command, '--out', out], {
    signal: interrupt.signal,
    onErr: () => interrupt.abort(new Interruption('SIGINT', 130)),
  });
  expect(stopped).toMatchObject({ code: 130, out: '' });
  expect(stopped.err).toMatch(/Run the same command to go on\.\n$/);
  expect((await softpack([...command, '--out', out])).code).toBe(0);
});

it('shows where an error was thrown with -v', async () => {
  const { err } = await softpack(['inspect', temporary.path('nothing'), '-v']);
  expect(err).toMatch(/\n {4}at /);
});
