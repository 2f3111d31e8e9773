import { type FileHandle, rename, rm } from 'node:fs/promises';
import { createOutput, writeFully } from '../container/durable.js';
import { NpyWriter, npyHeader } from '../labels/npy.js';
import { onFile } from '../store/file-error.js';
import { type CliIo, pour } from './io.js';

/** Where decoded labels go, and in which form. */

export const LABEL_FORMATS = ['npy', 'csv', 'json'] as const;
export type LabelFormat = (typeof LABEL_FORMATS)[number];

/** Labels of some consecutive samples of one epoch: [count, classes]. */
export interface LabelChunk {
  readonly epoch: number;
  readonly start: number;
  readonly values: Float32Array;
}

export interface LabelOutput extends AsyncDisposable {
  write(chunk: LabelChunk): Promise<void>;
  finish(): Promise<void>;
}

/** Output to a file, which is there once it is whole, or to standard output if the file is `-`. */
export async function labelOutput(
  file: string,
  format: LabelFormat,
  shape: readonly number[],
  io: CliIo,
): Promise<LabelOutput> {
  if (format === 'npy' && file !== '-') return npyFile(file, shape);
  const sink = file === '-' ? standardOutput(io) : await textFile(file);
  if (format === 'npy') return npyStream(sink, shape);
  return textOutput(sink, format, shape[shape.length - 1]);
}

async function npyFile(file: string, shape: readonly number[]): Promise<LabelOutput> {
  const writer = await NpyWriter.create(file, shape);
  return {
    write: ({ values }) => writer.write(values),
    finish: () => writer.finish(),
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
  };
}

interface Sink extends AsyncDisposable {
  put(data: string | Uint8Array): Promise<void>;
  finish(): Promise<void>;
}

function standardOutput(io: CliIo): Sink {
  return {
    put: (data) => pour(io, data),
    finish: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}

async function textFile(file: string): Promise<Sink> {
  const { temporary, handle } = await createOutput(file);
  let open: FileHandle | undefined = handle;
  let at = 0;
  const close = async () => {
    const closing = open;
    open = undefined;
    await closing?.close();
  };
  return {
    async put(data) {
      const bytes = typeof data === 'string' ? Buffer.from(data) : data;
      await onFile(file, () => writeFully(handle, bytes, at));
      at += bytes.length;
    },
    finish: () =>
      onFile(file, async () => {
        await close();
        await rename(temporary, file);
      }),
    async [Symbol.asyncDispose]() {
      await close();
      await rm(temporary, { force: true });
    },
  };
}

async function npyStream(sink: Sink, shape: readonly number[]): Promise<LabelOutput> {
  await sink.put(npyHeader(shape));
  return {
    write: ({ values: { buffer, byteOffset, byteLength } }) =>
      sink.put(new Uint8Array(buffer, byteOffset, byteLength)),
    finish: () => sink.finish(),
    [Symbol.asyncDispose]: () => sink[Symbol.asyncDispose](),
  };
}

/** A line a label: `epoch,sample,<probabilities>` under a header, or an array of objects. */
async function textOutput(
  sink: Sink,
  format: 'csv' | 'json',
  classes: number,
): Promise<LabelOutput> {
  const isJson = format === 'json';
  const names = Array.from({ length: classes }, (_, i) => `class_${i}`);
  await sink.put(isJson ? '[' : `epoch,sample,${names.join(',')}\n`);
  let between = '\n';
  return {
    async write({ epoch, start, values }) {
      const lines: string[] = [];
      for (let i = 0; i * classes < values.length; i++) {
        const label = values.subarray(i * classes, (i + 1) * classes);
        // Nine digits give back every float32.
        const numbers = Array.from(label, (value) => Number(value.toPrecision(9))).join(',');
        const sample = start + i;
        if (!isJson) lines.push(`${epoch},${sample},${numbers}\n`);
        else {
          lines.push(
            `${between}{"epoch":${epoch},"sample":${sample},"probabilities":[${numbers}]}`,
          );
          between = ',\n';
        }
      }
      await sink.put(lines.join(''));
    },
    async finish() {
      if (isJson) await sink.put('\n]\n');
      await sink.finish();
    },
    [Symbol.asyncDispose]: () => sink[Symbol.asyncDispose](),
  };
}
