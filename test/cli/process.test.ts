import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { NpyWriter } from '#src/labels/npy.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

/** Behaviour that needs a separate process. */

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const temporary = await temporaryDirectory();
const logits = temporary.path('logits.npy');
{
  await using writer = await NpyWriter.create(logits, [2, 150, 24]);
  await writer.write(syntheticLogits(300, 24));
  await writer.finish();
}

function start(args: readonly string[]) {
  const child = spawn(process.execPath, [main, ...args]);
  const run = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    run.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    run.err += chunk;
  });
  const ended = new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, ...run }));
  });
  return { child, ended, run };
}

function textOn(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let all = '';
    child.on('close', () => reject(new Error(`ended without "${text}": ${all}`)));
    child.stderr?.on('data', (chunk) => {
      all += chunk;
      if (all.includes(text)) resolve();
    });
  });
}

describe.concurrent('a command', () => {
  test.each([
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stops at %s with code %i', async (signal, code) => {
    const size = ['--dh', '24', '--dc', '8', '--k', '16', '--steps', '9999999'];
    const out = temporary.path(`stopped by ${signal}`);
    const { child, ended } = start(['pack', logits, ...size, '--out', out]);
    await textOn(child, 'reading labels');
    child.kill(signal);
    const run = await ended;
    expect(run).toMatchObject({ code, out: '' });
    expect(run.err).toContain('stopping');
    expect(run.err).not.toContain('    at ');
  });

  test('whose reader is gone ends without a word', async () => {
    const { child, ended } = start(['plan', '--classes', '1000', '--ipc', '10']);
    child.stdout.destroy();
    expect(await ended).toEqual({ code: 0, out: '', err: '' });
  });
});
