import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { NpyWriter } from '#src/labels/npy.js';
import { TEST_ALL } from '../all.js';
import { syntheticLogits } from '../codecs/labels.js';
import { writeImage } from '../images/fixture.js';
import type { TemporaryDirectory } from '../temporary.js';
import { type Ending, FaultProcess } from './fault-process.js';

export const OUT = '{out}';

/** A command that writes an archive from small inputs. */
export interface Writer {
  readonly name: string;
  /** Without `--out`; {@link OUT} stands for the folder where that is no option. */
  readonly args: readonly string[];
}

export interface Outcome extends Ending {
  /** Operations that were counted, e.g. `write <path>`. */
  readonly operations: readonly string[];
  /** Number of the first operation that was faulted; 0: none. */
  readonly firstFault: number;
}

export interface Fault {
  readonly ops: 'change' | 'open' | 'all';
  /** `kill`, `cut`, `freeze`, `freeze-cut`, `short` or the number of an errno; nothing: only count. */
  readonly fault?: string;
  /** Counted from 1; 0: every operation. */
  readonly at?: number;
}

const source = fileURLToPath(new URL('file_faults.c', import.meta.url));
const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/', import.meta.url));

/** Why faults cannot be injected here; undefined if they can. */
export function missingForFaults(): string | undefined {
  if (process.platform !== 'linux') return 'preloading the faults needs Linux';
  return spawnSync('cc', ['--version']).status === 0 ? undefined : 'no C compiler (cc)';
}

/** Folder with the inputs of all writers, and a process that runs them under faults. */
export class FaultWorkplace {
  readonly #root: string;
  readonly #library: string;
  #process: FaultProcess | undefined;
  #runs = 0;

  private constructor(root: string) {
    this.#root = root;
    this.#library = join(root, 'file_faults.so');
  }

  static async create(temporary: TemporaryDirectory): Promise<FaultWorkplace> {
    const place = new FaultWorkplace(temporary.path('place'));
    afterAll(() => place.end());
    mkdirSync(place.path('in'), { recursive: true });
    const flags = ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror'];
    const built = spawnSync('cc', [...flags, '-o', place.#library, source, '-ldl', '-pthread']);
    if (built.status !== 0) throw new Error(built.stderr.toString());
    cpSync(join(teacher, 'model.onnx'), place.path('in/model.onnx'));
    await using logits = await NpyWriter.create(place.path('in/logits.npy'), [3, 40, 6]);
    await logits.write(syntheticLogits(3 * 40, 6));
    await logits.finish();
    for (let i = 0; i < 6; i++) {
      await writeImage(place.path('in/images'), `class${i % 2}/${i}.png`, i, [10, 12]);
    }
    return place;
  }

  path(name: string): string {
    return join(this.#root, name);
  }

  get writers(): readonly Writer[] {
    const [logits, images] = [this.path('in/logits.npy'), this.path('in/images')];
    const labels = ['--teacher', this.path('in/model.onnx'), '--images', images, '--epochs', '2'];
    const views = ['--preprocessing', 'tf', '--batch', '3'];
    const topk = ['--codec', 'topk', '--k', '2'];
    return [
      { name: 'pack topk', args: ['pack', logits, '--codec', 'topk', '--k', '2'] },
      {
        name: 'pack vqae',
        args: ['pack', logits, '--dh', '6', '--dc', '2', '--k', '8', '--steps', '5'],
      },
      { name: 'cache', args: ['cache', ...labels, ...views] },
      { name: 'cache topk', args: ['cache', ...labels, ...views, ...topk] },
      {
        name: 'cache topk at once',
        args: ['cache', ...labels, ...views, ...topk, '--passes', '1'],
      },
      {
        name: 'cache transform at once',
        args: [
          'cache',
          ...labels,
          ...views,
          '--codec',
          'transform',
          '--rate',
          '400',
          '--passes',
          '1',
        ],
      },
      { name: 'pack-images', args: ['pack-images', images] },
      { name: 'pack-images jpeg', args: ['pack-images', images, '--encoding', 'jpeg'] },
    ];
  }

  writer(name: string): Writer {
    const found = this.writers.find((writer) => writer.name === name);
    if (found === undefined) throw new Error(`no writer ${name}`);
    return found;
  }

  /** A fresh folder to write below. */
  freshOut(): string {
    this.#runs += 1;
    const folder = this.path(`run-${this.#runs}`);
    mkdirSync(folder);
    return join(folder, 'out');
  }

  /** Of folders with the same files the first; the others are removed. */
  distinct<T extends { readonly out: string }>(left: readonly T[]): readonly T[] {
    const known = new Set<string>();
    return left.filter(({ out }) => {
      const files = JSON.stringify([...treeOf(out)]);
      const isNew = !known.has(files);
      if (!isNew) this.discard(out);
      known.add(files);
      return isNew;
    });
  }

  discard(out: string): void {
    rmSync(join(out, '..'), { recursive: true });
  }

  /** Runs a writer with faults of the file system, in the process of the runs before it. */
  async run(writer: Writer, out: string, { ops, fault = 'none', at = 0 }: Fault): Promise<Outcome> {
    const folder = join(out, '..');
    const log = `${folder}.log`;
    rmSync(log, { force: true });
    const named = writer.args.map((arg) => (arg === OUT ? out : arg));
    const args = writer.args.includes(OUT) ? named : [...named, '--out', out];
    this.#process ??= this.#start();
    const ending = await this.#process.run({ args, words: `${ops} ${fault} ${at}`, log });
    if (this.#process.hasEnded) this.#process = undefined;
    const lines = existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : [];
    const operations = lines.map((line) => line.replace(/^!/, ''));
    const runs = this.path('run-');
    const isForeign = (path: string) =>
      path.startsWith(runs) && !`${path}/`.startsWith(`${folder}/`);
    const foreign = operations.find((line) => isForeign(line.slice(line.indexOf(' ') + 1)));
    // A command that still works after its end would change what it left, and be counted with the next.
    if (foreign !== undefined) throw new Error(`${writer.name} met an earlier run: ${foreign}`);
    const firstFault = 1 + lines.findIndex((line) => line.startsWith('!'));
    return { ...ending, operations, firstFault };
  }

  /** One thread for files, so that operations have an order. */
  #start(): FaultProcess {
    return new FaultProcess({
      ...process.env,
      LD_PRELOAD: this.#library,
      UV_THREADPOOL_SIZE: '1',
      UV_USE_IO_URING: '0',
      SOFTPACK_FAULT_ROOT: this.#root,
      SOFTPACK_FAULT_CONTROL: this.path('control'),
    });
  }

  /** Ends the process of the runs; whatever it has locked is free. */
  async end(): Promise<void> {
    const ending = this.#process;
    this.#process = undefined;
    await ending?.end();
  }
}

/**
 * One of `every` faults, from a place that changes daily: as many days try them all, or SOFTPACK_TEST_ALL=1 at once.
 * SOFTPACK_FAULT_DAY is the day of a failure that is to be seen again.
 */
export function todays(every: number): {
  readonly named: string;
  of<T>(all: readonly T[]): readonly T[];
} {
  const step = TEST_ALL ? 1 : every;
  const day = Number(process.env.SOFTPACK_FAULT_DAY ?? Math.floor(Date.now() / 86_400_000));
  return {
    named: `1 of ${step} with SOFTPACK_FAULT_DAY=${day}`,
    of: (all) => all.filter((_, i) => i % step === day % step),
  };
}

/** Path below the folder that `out` is in -> bytes of the file, of everything there. */
export function treeOf(out: string): ReadonlyMap<string, string> {
  const base = join(out, '..');
  const files = readdirSync(base, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  return new Map(
    files.map((file) => [
      relative(base, file),
      statSync(file).isFile() ? readFileSync(file, 'base64') : 'folder',
    ]),
  );
}
