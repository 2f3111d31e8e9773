import { extname } from 'node:path';
import { PAD_PREFIX, readSafetensorsLayout } from '../container/safetensors.js';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { FLOAT_BYTES, type FloatDtype } from './elements.js';
import { hasNpyMagic, type NpyHeader, readNpyHeader } from './npy.js';
import { hasZipMagic } from './zip-magic.js';

/** An array of floats inside a file. */
export interface StoredArray extends NpyHeader {
  /** The file, or the part of it that `dataOffset` counts from. */
  readonly file: ByteFile;
  /** For error messages. */
  readonly field: string;
}

/**
 * Finds the array of a .npy, .npz or .safetensors file.
 *
 * @param name which of several arrays.
 */
export async function locateArray(file: ByteFile, name: string | undefined): Promise<StoredArray> {
  const npy = await npyFileOf(file, name);
  return npy === undefined ? safetensorsArray(file, name) : npyArray(npy);
}

/**
 * The .npy file that holds an array: the file itself, or a part of an .npz file; undefined for .safetensors.
 *
 * @param option that names one of several arrays, for errors.
 */
export async function npyFileOf(
  file: ByteFile,
  name: string | undefined,
  option = 'tensor',
): Promise<ByteFile | undefined> {
  const start = new Uint8Array(Math.min(9, file.size));
  await file.read(0, start);
  // The first bytes say what a file is; a damaged one is taken for what its name says.
  const extension = extname(file.name);
  if (hasNpyMagic(start) || extension === '.npy') {
    requireUnnamed(file.name, name, option);
    return file;
  }
  if (hasZipMagic(start) || extension === '.npz') {
    const { readNpz } = await import('./npz.js'); // With a library that takes 30 ms to load.
    return choose(file.name, await readNpz(file), name, option).open();
  }
  if (start[8] !== 0x7b && extension !== '.safetensors') {
    throw invalidFile(file.name, 'format', 'neither .npy, .npz nor .safetensors', {
      found: `first bytes ${Buffer.from(start).toString('hex')}`,
    });
  }
  return undefined;
}

async function npyArray(file: ByteFile): Promise<StoredArray> {
  return { file, field: `${file.name}: shape`, ...(await readNpyHeader(file)) };
}

async function safetensorsArray(file: ByteFile, tensor: string | undefined): Promise<StoredArray> {
  const layout = await readSafetensorsLayout(file);
  const entries = [...layout.tensors.values()].filter(
    (entry) => !entry.name.startsWith(PAD_PREFIX),
  );
  const { name, dtype, shape, begin } = choose(file.name, entries, tensor);
  if (!Object.hasOwn(FLOAT_BYTES, dtype)) {
    throw new SoftpackError('UNSUPPORTED', 'not a tensor of floats', {
      field: `${file.name}: tensor ${name}.dtype`,
      expected: Object.keys(FLOAT_BYTES).join(', '),
      found: dtype,
    });
  }
  return {
    file,
    field: `${file.name}: tensor ${name}.shape`,
    dtype: dtype as FloatDtype,
    bigEndian: false,
    fortranOrder: false,
    shape,
    dataOffset: layout.dataOffset + begin,
  };
}

function requireUnnamed(file: string, name: string | undefined, option: string): void {
  if (name === undefined) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'a .npy file holds one array, without a name', {
    field: option,
    expected: `no name for ${file}`,
    found: name,
  });
}

/** The array of a name, or the only one. @param option that names it, for errors. */
export function choose<T extends { readonly name: string }>(
  file: string,
  entries: readonly T[],
  name: string | undefined,
  option = 'tensor',
): T {
  const names = entries.map((entry) => entry.name).join(', ');
  if (name === undefined) {
    if (entries.length === 1) return entries[0];
    throw new SoftpackError(
      'INVALID_ARGUMENT',
      `${file} holds ${entries.length} arrays: name one`,
      {
        field: option,
        expected: names === '' ? 'a file with arrays' : `one of ${names}`,
      },
    );
  }
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  throw new SoftpackError('NOT_FOUND', 'no such tensor', {
    field: `${file}: ${option}`,
    expected: `one of ${names}`,
    found: name,
  });
}
