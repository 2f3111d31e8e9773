// A rival in a child that times itself. It reads a line a request and answers with a line:
//   list              the names of its implementations, separated by tabs
//   time OP NAME N    seconds and seconds of processor time of N runs of an operation on the whole input
//   check NAME        the size of its result in bytes, and the error of what it decodes
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export class LinePeer {
  #child;
  #replies;

  constructor(program, args) {
    const env = { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    this.#child.on('error', () => {}); // The missing reply tells.
    this.#child.stdin.on('error', () => {});
    this.#replies = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** One contender per implementation, each of `batch` values or labels. */
  async contenders(op, batch) {
    const names = await this.#ask('list');
    return names.map((impl) => ({
      ...{ impl, side: 'rival', batches: [batch] },
      time: async (_, calls) => {
        const [seconds, cpuSeconds] = (await this.#ask('time', op, impl, calls)).map(Number);
        return { seconds, cpuSeconds };
      },
      check: async () => {
        const [bytes, error] = (await this.#ask('check', impl)).map(Number);
        return { bytes, error };
      },
    }));
  }

  async #ask(...request) {
    this.#child.stdin.write(`${request.join('\t')}\n`);
    const { value, done } = await this.#replies.next();
    if (done) throw new Error(`${this.#child.spawnfile} ended`);
    return value.split('\t');
  }

  async close() {
    this.#child.stdin.end();
    if (this.#child.exitCode === null && this.#child.pid !== undefined) {
      await new Promise((resolve) => this.#child.once('exit', resolve));
    }
  }
}
