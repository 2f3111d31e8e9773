import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addDemo } from '#src/cli/demo.js';

const silent = { write: () => true };
const io = { stdout: silent, stderr: silent, signal: new AbortController().signal };

test('the npm package, which lacks the demo, says how to get it, whatever the options', async () => {
  const program = new Command().exitOverride();
  await addDemo(program, io, new URL('./absent/command.js', import.meta.url).href);
  for (const args of [['demo'], ['demo', '--seed', '3', '--dir', 'x']]) {
    const call = program.parseAsync(args, { from: 'user' });
    await expect(call).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(call).rejects.toThrow('npm ci && npm run demo');
  }
});

test('a checkout has the demo and its options', async () => {
  const program = new Command().exitOverride();
  await addDemo(program, io);
  expect(program.commands[0].helpInformation()).toContain('--train-teacher');
});

test('an app that is there and fails is not taken for an absent one', async () => {
  const broken = `data:text/javascript,throw new Error('broken app')`;
  await expect(addDemo(new Command(), io, broken)).rejects.toThrow('broken app');
});
