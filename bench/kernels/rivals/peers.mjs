// PyTorch, faiss and NumPy, in a Python child that times itself; the parent schedules the turns.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TAU } from '../settings.mjs';

const SCRIPT = fileURLToPath(new URL('./peers.py', import.meta.url));

/** The Python with the peers: SOFTPACK_BENCH_PYTHON, else python3; set but empty, none. */
export async function loadPeers({ threads, compiled }) {
  const python = process.env.SOFTPACK_BENCH_PYTHON ?? 'python3';
  if (python === '') return { reason: 'Python peers: SOFTPACK_BENCH_PYTHON is empty' };
  try {
    execFileSync(python, ['--version'], { stdio: 'ignore' });
  } catch {
    return { reason: `Python peers: ${python} does not run; SOFTPACK_BENCH_PYTHON names another` };
  }
  const peers = new Peers(python, threads);
  const { versions, missing } = await peers
    .ask({ command: 'hello' })
    .catch((error) => ({ versions: {}, missing: [error.message] }));
  if (Object.keys(versions).length === 0) {
    await peers.close();
    return { reason: `Python peers: ${python} has no peers: ${missing.join(', ')}` };
  }
  const version = Object.entries(versions)
    .map(([name, number]) => `${name} ${number}`)
    .join(', ');
  return {
    version,
    ...(missing.length > 0 && { reason: `Python peers: ${python} has no ${missing.join(', ')}` }),
    contenders: (op, workload, context) => peers.contenders(op, workload, context, compiled),
    close: () => peers.close(),
  };
}

class Peers {
  #child;
  #replies;
  #folder = mkdtempSync(join(tmpdir(), 'softpack-bench-'));
  #loaded;

  constructor(python, threads) {
    const number = `${threads}`;
    this.#child = spawn(python, [SCRIPT, number], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        ...process.env,
        OMP_NUM_THREADS: number,
        OPENBLAS_NUM_THREADS: number,
        MKL_NUM_THREADS: number,
        // Freed memory is reused instead of being mapped and zeroed again, as with a caching allocator.
        MALLOC_MMAP_THRESHOLD_: `${32 * 2 ** 20}`,
        MALLOC_TRIM_THRESHOLD_: `${8 * 2 ** 30}`,
        PYTHONDONTWRITEBYTECODE: '1',
      },
    });
    this.#child.stdin.on('error', () => {}); // The missing reply tells.
    this.#replies = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#replies.next();
    if (done) throw new Error('the Python peers ended');
    const reply = JSON.parse(value);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  async contenders(op, workload, { checked }, compiled) {
    if (this.#loaded !== workload) {
      await this.#load(workload);
      this.#loaded = workload;
    }
    const { forms } = await this.ask({ command: 'forms', op, compiled });
    const contenders = forms.map(({ impl, like, work, batches, out }) => ({
      ...{ impl, like, work, batches, side: 'rival', ...(out && { out }) },
      time: (batch, calls) => this.ask({ command: 'time', op, impl, batch, calls }),
      output: async (batch) => {
        const { parts } = await this.ask({ command: 'output', op, impl, batch, checked });
        return this.#read(op, parts);
      },
    }));
    return { contenders, close: () => this.ask({ command: 'release', op }) };
  }

  async #load(workload) {
    const { setting, classes, pool, eps, weights, lowEntropy } = workload;
    const arrays = {
      projection: weights.projection,
      decoder: weights.decoder,
      codebook: weights.codebook,
      bias: weights.bias,
      labels: workload.labels,
      logits: workload.studentLogits,
      latent: workload.latent,
      indices: Int32Array.from(workload.indices),
      order: Int32Array.from(workload.order),
      ...(lowEntropy && {
        low_labels: lowEntropy.labels,
        low_projection: lowEntropy.weights.projection,
        low_codebook: lowEntropy.weights.codebook,
      }),
    };
    for (const [name, data] of Object.entries(arrays)) {
      // Labels and logits are the same for all settings.
      const shared = ['labels', 'low_labels', 'logits', 'order'].includes(name);
      if (this.#loaded !== undefined && shared) continue;
      writeFileSync(join(this.#folder, name), bytesOf(data));
    }
    const { dh, dc, k } = setting;
    const shape = { classes, pool, eps, tau: TAU, dh, dc, k };
    await this.ask({ command: 'load', folder: this.#folder, ...shape });
  }

  #read(op, parts) {
    const read = (name, kind) => {
      // Copied, as the result of readFileSync may start anywhere in a larger buffer.
      const bytes = new Uint8Array(readFileSync(join(this.#folder, parts[name])));
      return new kind(bytes.buffer);
    };
    if (op === 'decode_kl') {
      return { gradient: read('gradient', Float32Array), losses: read('losses', Float32Array) };
    }
    const indices = op === 'nearest' || op.startsWith('encode');
    return read('values', indices ? Int32Array : Float32Array);
  }

  async close() {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) {
      await new Promise((resolve) => this.#child.once('exit', resolve));
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
