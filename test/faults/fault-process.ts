import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const driver = fileURLToPath(new URL('driver.mjs', import.meta.url));

/** A command, and what test/faults/file_faults.c is to do meanwhile. */
export interface FaultTask {
  readonly args: readonly string[];
  /** Which operations count, the fault, and at which of them. */
  readonly words: string;
  readonly log: string;
}

/** How a command ended, or its process. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly err: string;
}

/** A process that runs commands under faults, one after the other. */
export class FaultProcess {
  readonly #child: ChildProcess;
  readonly #closed: Promise<Ending>;
  #printed = '';
  #hasEnded = false;

  constructor(env: NodeJS.ProcessEnv) {
    const stdio = ['ignore', 'ignore', 'pipe', 'ipc'] as const;
    this.#child = fork(driver, { env, execArgv: [], stdio: [...stdio] });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#printed += text;
    });
    this.#closed = once(this.#child, 'close').then(([code, signal]) => {
      this.#hasEnded = true;
      return { code, signal, err: this.#printed };
    });
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async run(task: FaultTask): Promise<Ending> {
    this.#requireAlive();
    const answer = once(this.#child, 'message').then(([{ code, err }]): Ending => {
      return { code, signal: null, err };
    });
    this.#child.send(task);
    return Promise.race([answer, this.#closed]);
  }

  async end(): Promise<void> {
    this.#requireAlive();
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  /** What a command leaves running must not bring down its process once the command has ended. */
  #requireAlive(): void {
    if (!this.#hasEnded) return;
    throw new Error(`the process died after its last command: ${this.#printed}`);
  }
}
