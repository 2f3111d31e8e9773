import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import { MAX_PICKLE, unpickle } from './pickle.js';
import { PickleEndsEarly } from './pickle-bytes.js';
import { TorchFile } from './torch-file.js';
import {
  describeValue,
  NUMBER_BYTES,
  type NumberType,
  PickleDict,
  type PickleValue,
  TorchStorage,
} from './values.js';
import { viewOf } from './zip.js';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const WANTED_MAGIC = 'the number that torch.save begins with';
const PROTOCOL = 1001;
/** Pickles are read by windows of this size, doubled while they do not fit. */
const WINDOW = 64 * 2 ** 10;
const COUNT_BYTES = 8;

/**
 * Reads the form that torch had before 1.6: pickles of a magic number, a version, the system and the object; the keys
 * of the storages; then each storage as a count (int64) and its numbers.
 */
export async function readLegacy(file: ByteFile): Promise<TorchFile> {
  const [pickles, end] = await readPickles(file, ['magic', 'protocol', 'system', 'object', 'keys']);
  const [magic, protocol, system, root, keys] = pickles;
  require(file, 'magic', magic === MAGIC, WANTED_MAGIC, magic);
  require(file, 'protocol', protocol === PROTOCOL, PROTOCOL, protocol);
  const little = system instanceof PickleDict && system.get('little_endian') === true;
  require(file, 'system', little, 'little_endian', system);
  const named = Array.isArray(keys) && keys.every((key) => typeof key === 'string');
  require(file, 'keys', named, 'a list of texts', keys);
  const offsets = await findStorages(file, keys as readonly string[], storagesOf(root), end);
  return new TorchFile(file, root, ({ key, count, dtype }) => {
    const found = offsets.get(key);
    if (found?.count === count && found.dtype === dtype) return found.offset;
    throw invalidFile(file.name, `storage ${key}`, 'no such storage', {
      expected: `${count} numbers of ${dtype}`,
      found: found === undefined ? 'none' : `${found.count} of ${found.dtype}`,
    });
  });
}

interface FoundStorage {
  readonly offset: number;
  readonly count: number;
  readonly dtype: NumberType;
}

async function findStorages(
  file: ByteFile,
  keys: readonly string[],
  types: ReadonlyMap<string, NumberType>,
  begin: number,
): Promise<ReadonlyMap<string, FoundStorage>> {
  const offsets = new Map<string, FoundStorage>();
  const head = new Uint8Array(COUNT_BYTES);
  let at = begin;
  for (const key of keys) {
    const dtype = types.get(key);
    if (dtype === undefined || offsets.has(key)) {
      throw invalidFile(file.name, `storage ${key}`, 'storage that no tensor uses, or twice');
    }
    const left = file.size - at - COUNT_BYTES;
    if (left >= 0) await file.read(at, head);
    const count = Number(viewOf(head).getBigInt64(0, true));
    if (left < 0 || count < 0 || count * NUMBER_BYTES[dtype] > left) {
      throw invalidFile(file.name, `storage ${key}`, 'storage reaches beyond the file', {
        expected: `at most ${Math.max(0, left)} bytes`,
        found: `${count} numbers of ${dtype}`,
      });
    }
    offsets.set(key, { offset: at + COUNT_BYTES, count, dtype });
    at += COUNT_BYTES + count * NUMBER_BYTES[dtype];
  }
  if (at !== file.size) {
    const details = { expected: `${at} bytes`, found: file.size };
    throw invalidFile(file.name, 'size', 'bytes after the last storage', details);
  }
  return offsets;
}

/** Types of all storages that the object uses. */
function storagesOf(root: PickleValue): ReadonlyMap<string, NumberType> {
  const types = new Map<string, NumberType>();
  const seen = new Set<PickleValue>();
  const waiting: PickleValue[] = [root];
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (typeof value !== 'object' || value === null || seen.has(value)) continue;
    seen.add(value);
    if (value instanceof TorchStorage) types.set(value.key, value.dtype);
    else if ('storage' in value) waiting.push(value.storage);
    else if ('items' in value) for (const item of value.items) waiting.push(item);
    else if (value instanceof PickleDict) for (const item of value.values()) waiting.push(item);
    else if (Array.isArray(value)) for (const item of value) waiting.push(item);
  }
  return types;
}

/** Values of pickles that follow each other at the file's begin, and where the last one ends. */
async function readPickles(
  file: ByteFile,
  names: readonly string[],
): Promise<readonly [readonly PickleValue[], number]> {
  for (let window = WINDOW; ; window *= 2) {
    const bytes = new Uint8Array(Math.min(window, file.size, MAX_PICKLE));
    await file.read(0, bytes);
    const values: PickleValue[] = [];
    let rest: Uint8Array = bytes;
    try {
      for (const name of names) {
        const read = unpickle(file.name, name, rest);
        values.push(read.value);
        rest = read.rest;
        if (name === 'magic') require(file, name, read.value === MAGIC, WANTED_MAGIC, read.value);
      }
      return [values, bytes.length - rest.length];
    } catch (error) {
      if (!(error instanceof PickleEndsEarly)) throw error;
      if (bytes.length < Math.min(file.size, MAX_PICKLE)) continue;
      const details = { expected: `${names.length} pickles`, found: values.length };
      throw invalidFile(file.name, names[values.length], 'pickle ends early', details);
    }
  }
}

function require(
  { name }: ByteFile,
  field: string,
  valid: boolean,
  expected: string | number,
  found: PickleValue,
): void {
  if (valid) return;
  const details = { expected, found: describeValue(found) };
  throw invalidFile(name, field, 'not a file of torch.save', details);
}
