#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { SoftpackError } from '../errors.js';
import { addCache } from './cache.js';
import { addCat } from './cat.js';
import { addDemo } from './demo.js';
import { addDoctor } from './doctor.js';
import { addInspect } from './inspect.js';
import { addLoaderBench } from './loader-bench.js';
import { addPack } from './pack.js';
import { addPackImages } from './pack-images.js';
import { addPlan } from './plan.js';
import { addTensorflow } from './tensorflow.js';

/** 0 done, 1 failed, 2 wrong usage, 130 interrupted (128 + SIGINT, as shells have it). */
const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

async function main(argv: readonly string[]): Promise<number> {
  const interrupt = new AbortController();
  process.once('SIGINT', () => {
    process.stderr.write('\nstopping (press Ctrl-C again to stop at once)\n');
    interrupt.abort(new Error('interrupted'));
    // A second Ctrl-C finds no handler and ends the process.
  });
  const program = await createProgram(interrupt.signal);
  try {
    await program.parseAsync(argv);
    return EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (interrupt.signal.aborted) return EXIT.interrupted;
    if (!(error instanceof SoftpackError)) throw error;
    process.stderr.write(`softpack: ${error.message} [${error.code}]\n`);
    return error.code === 'INVALID_ARGUMENT' ? EXIT.usage : EXIT.failed;
  }
}

async function createProgram(signal: AbortSignal): Promise<Command> {
  const { version } = createRequire(import.meta.url)('../../package.json');
  const program = new Command('softpack')
    .description('Compress soft labels 10 to 400 times and decode them at training speed.')
    .version(version)
    .showHelpAfterError('(run with --help for all options)')
    .exitOverride();

  await addDemo(program, signal);
  addPlan(program);
  addCache(program, signal);
  addPack(program, signal);
  addPackImages(program, signal);
  addCat(program, signal);
  addInspect(program);
  addLoaderBench(program, signal);
  addDoctor(program);
  addTensorflow(program, signal);
  return program;
}

process.exitCode = await main(process.argv);
