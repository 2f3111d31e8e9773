import { Command, type CommanderError } from 'commander';
import { VERSION } from '../core/version.js';
import { errorCode, errorMessage, errorName, isSoftpackError, stackOf } from '../errors.js';
import { addAppend } from './append.js';
import { addCache } from './cache.js';
import { addCat } from './cat.js';
import { addCompletion } from './completion.js';
import { addCopy } from './copy.js';
import { addDemo } from './demo.js';
import { addDiff } from './diff.js';
import { addDoctor } from './doctor.js';
import { EXAMPLES, RESUMED } from './examples.js';
import { addExport } from './export.js';
import { addImport } from './import.js';
import { addInspect } from './inspect.js';
import { type CliIo, ExitWith, Interruption, type Output, printable } from './io.js';
import { addLoaderBench } from './loader-bench.js';
import { addMerge } from './merge.js';
import { addPack } from './pack.js';
import { addPackImages } from './pack-images.js';
import { addPlan } from './plan.js';
import { addRepair } from './repair.js';
import { addReport } from './report.js';
import { addSign } from './sign.js';
import { addStatistics } from './statistics.js';
import { addSynthesise } from './synthesise.js';
import { addTensorflow } from './tensorflow.js';
import { addTokens } from './tokens.js';
import { addVerify } from './verify.js';
import { addView } from './view.js';

const GO_ON = 'Run the same command to go on.\n';

const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** Runs one command, e.g. `['inspect', 'labels.softpack']`, and returns its exit code. Never throws. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let running: Command | undefined;
  try {
    const program = await createProgram(io);
    program.hook('preAction', (_, command) => {
      running = command;
    });
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (isCommanderError(error)) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    const { aborted, reason } = io.signal;
    if (aborted && reason instanceof Interruption) {
      const goesOn = running !== undefined && RESUMED.has(pathOf(running));
      if (goesOn && reason.exitCode !== EXIT.done) io.stderr.write(GO_ON);
      return reason.exitCode;
    }
    if (error instanceof ExitWith) return error.exitCode;
    report(error, io, running?.opts().verbose === true);
    const usage = isSoftpackError(error) && error.code === 'INVALID_ARGUMENT';
    return usage ? EXIT.usage : EXIT.failed;
  }
}

function report(error: unknown, { stderr }: CliIo, verbose: boolean): void {
  const say = (text: string) => stderr.write(`${printable(text)}\n`);
  if (isSoftpackError(error)) {
    say(`softpack: ${error.message} [${error.code}]`);
  } else {
    const text = `${errorName(error)}: ${errorMessage(error)}`.replace(/\s*\n\s*/g, ' ');
    say(`softpack: unexpected error: ${text}`);
    if (!verbose) say('This should not happen; --verbose shows where it did.');
  }
  if (verbose) say(stackOf(error) ?? '');
}

/** `instanceof` can throw for what is thrown here. */
function isCommanderError(error: unknown): error is CommanderError {
  return errorCode(error)?.startsWith('commander.') === true;
}

/** All commands. */
export async function createProgram(given: CliIo): Promise<Command> {
  const stderr = new QuietableOutput(given.stderr);
  const io = { ...given, stderr };
  const program = new Command('softpack')
    .description('Compress soft labels 10 to 400 times and decode them at training speed.')
    .version(VERSION, '--version')
    // Options before the name of a command are the program's, those after it the command's.
    .enablePositionalOptions()
    .showHelpAfterError('(run with --help for all options)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(printable(text)),
    });

  await addDemo(program, io);
  addPlan(program, io);
  addStatistics(program, io);
  addSynthesise(program, io);
  addCache(program, io);
  addPack(program, io);
  addPackImages(program, io);
  addImport(program, io);
  addExport(program, io);
  addCat(program, io);
  addInspect(program, io);
  addReport(program, io);
  addView(program, io);
  addVerify(program, io);
  addRepair(program, io);
  addCopy(program, io);
  addSign(program);
  addDiff(program, io);
  addMerge(program, io);
  addAppend(program, io);
  addLoaderBench(program, io);
  addDoctor(program, io);
  addTensorflow(program, io);
  addTokens(program, io);
  addCompletion(program, io);
  for (const command of runnable(program)) {
    command
      .option('-q, --quiet', 'show no progress, only results, warnings and errors')
      .option('-v, --verbose', 'show where an error was thrown');
    const examples = EXAMPLES[pathOf(command)] ?? [];
    const lines = examples.map((line) => `\n  ${line}`).join('');
    if (lines !== '') command.addHelpText('after', `\nExamples:${lines}`);
  }
  program.hook('preAction', (_, command) => {
    stderr.quiet = command.opts().quiet === true;
  });
  return program;
}

/** All commands that do something: those with commands below them do if they have options. */
function runnable({ commands }: Command): readonly Command[] {
  return commands.flatMap((command) => {
    const does = command.commands.length === 0 || command.options.length > 0;
    return [...(does ? [command] : []), ...runnable(command)];
  });
}

/** Words after `softpack`, e.g. `tokens import`. */
function pathOf(command: Command): string {
  const above = command.parent;
  if (above === null) return '';
  return `${pathOf(above)} ${command.name()}`.trim();
}

/** Told by the options of a command, which are parsed after the commands have their streams, to show no progress. */
class QuietableOutput implements Output {
  readonly #output: Output;
  quiet = false;

  constructor(output: Output) {
    this.#output = output;
  }

  get isTTY(): boolean | undefined {
    return this.#output.isTTY;
  }

  get columns(): number | undefined {
    return this.#output.columns;
  }

  write(data: string | Uint8Array): unknown {
    return this.#output.write(data);
  }

  once(event: 'drain', listener: () => void): unknown {
    return this.#output.once?.(event, listener);
  }
}
