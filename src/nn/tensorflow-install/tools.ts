import { type ChildProcess, spawn } from 'node:child_process';
import { childEnvironment } from '../../core/child-environment.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';

export interface ToolResult {
  readonly ok: boolean;
  /** Standard output and standard error, as they came. */
  readonly output: string;
}

export interface ToolOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

/** Milliseconds that a program and those it started have to end before they are killed. */
const PATIENCE = 2000;

/**
 * Runs a program to its end, without a shell; undefined if there is no such program. The signal ends it together with
 * all programs that it started.
 */
export function runTool(
  command: readonly string[],
  { cwd, env = childEnvironment(), signal }: ToolOptions = {},
): Promise<ToolResult | undefined> {
  throwIfAborted(signal);
  return new Promise((done, fail) => {
    const [program, ...args] = command;
    // A separate group, so that a compiler's or package manager's helpers get the signals, too.
    const detached = true;
    const child = spawn(program, args, { cwd, env, detached, stdio: ['ignore', 'pipe', 'pipe'] });
    let patience: NodeJS.Timeout | undefined;
    const stop = () => {
      killGroup(child, 'SIGTERM');
      patience = setTimeout(() => killGroup(child, 'SIGKILL'), PATIENCE);
    };
    signal?.addEventListener('abort', stop, { once: true });
    let output = '';
    const collect = (chunk: Buffer) => {
      output += chunk.toString('utf8');
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', (error: NodeJS.ErrnoException) => {
      signal?.removeEventListener('abort', stop);
      if (error.code === 'ENOENT' || error.code === 'EACCES') done(undefined);
      else fail(error);
    });
    child.once('close', (status) => {
      signal?.removeEventListener('abort', stop);
      clearTimeout(patience);
      if (signal?.aborted) {
        fail(new SoftpackError('ABORTED', 'aborted', { cause: signal.reason }));
      } else {
        done({ ok: status === 0, output });
      }
    });
  });
}

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // All of them have ended.
  }
}

/** A Python with pip: `PYTHON`, `python3` or `python`. */
export async function findPip(signal?: AbortSignal): Promise<readonly string[]> {
  const names = process.env.PYTHON ? [process.env.PYTHON] : ['python3', 'python'];
  for (const name of names) {
    const command = [name, '-m', 'pip'];
    if ((await runTool([...command, '--version'], { signal }))?.ok) return command;
  }
  throw missing(
    'python',
    `no pip for ${names.join(', ')}; apt install python3-pip, or give a downloaded wheel by --wheel`,
  );
}

/** A C++ compiler: `CXX` (which may carry arguments), `g++`, `c++` or `clang++`. */
export async function findCompiler(signal?: AbortSignal): Promise<readonly string[]> {
  const { CXX } = process.env;
  const commands = CXX ? [[CXX], CXX.trim().split(/\s+/)] : [['g++'], ['c++'], ['clang++']];
  for (const command of commands) {
    if ((await runTool([...command, '--version'], { signal }))?.ok) return command;
  }
  const tried = commands.map((command) => command.join(' ')).at(-1);
  throw missing('compiler', `${CXX ? `CXX=${tried}` : 'no g++'} does not run; apt install g++`);
}

export async function findNpm(signal?: AbortSignal): Promise<readonly string[]> {
  if ((await runTool(['npm', '--version'], { signal }))?.ok) return ['npm'];
  throw missing('npm', 'npm is not on PATH; it comes with Node.js');
}

/** The lines of a program's output that say what went wrong. */
export function errorLines(output: string): string {
  const lines = output.split('\n').filter((line) => !/^\s*$|Retrying/.test(line));
  const telling = lines.filter((line) => /error|ERR!|not match|expected|got /i.test(line));
  return (telling.length > 0 ? telling : lines).slice(-4).join('\n').trim();
}

/** For a disk that was large enough at first, and is full now. */
export function diskFull(folder: string, cause?: unknown): SoftpackError {
  const message = 'the disk is full; make room or give another --dir';
  return new SoftpackError('NO_SPACE', message, { field: folder, cause });
}

function missing(field: string, message: string): SoftpackError {
  return new SoftpackError('TOOL_MISSING', message, { field });
}
