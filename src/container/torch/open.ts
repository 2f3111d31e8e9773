import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import { openLocalFile } from '../../store/local.js';
import { readLegacy } from './legacy.js';
import { MAX_PICKLE, unpickle } from './pickle.js';
import { PickleEndsEarly } from './pickle-bytes.js';
import { TorchFile } from './torch-file.js';
import { NUMBER_BYTES } from './values.js';
import { readZipDirectory, type ZipEntry, zipDataOffset } from './zip.js';

/**
 * Opens a file that `torch.save` wrote.
 *
 * @throws `INVALID_FILE` naming file and place for anything but plain data: unknown opcodes and names, tensors beyond
 *   their storages, compressed or damaged zip entries, big-endian numbers.
 */
export async function openTorchFile(path: string): Promise<TorchFile> {
  const file = await openLocalFile(path);
  try {
    return await readTorchFile(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** {@link openTorchFile} for bytes from anywhere; closing the result closes them. */
export async function readTorchFile(file: ByteFile): Promise<TorchFile> {
  const magic = new Uint8Array(Math.min(4, file.size));
  await file.read(0, magic);
  if (Buffer.from(magic).equals(Buffer.from('PK\x03\x04', 'latin1'))) return readZip(file);
  if (magic[0] === PICKLE_MAGIC) return readLegacy(file);
  throw invalidFile(file.name, 'first bytes', 'not a file of torch.save', {
    expected: 'a zip file or a pickle',
    found: Buffer.from(magic).toString('hex') || 'an empty file',
  });
}

const PICKLE_MAGIC = 0x80;

async function readZip(file: ByteFile): Promise<TorchFile> {
  const entries = await readZipDirectory(file);
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw invalidFile(file.name, 'data.pkl', 'not one pickle', {
      expected: 1,
      found: pickles.length,
    });
  }
  const [name] = pickles;
  const folder = name.slice(0, -'data.pkl'.length);
  await requireLittleEndian(file, entries.get(`${folder}byteorder`));
  const bytes = await readEntry(file, entries.get(name), MAX_PICKLE);
  const { value } = unpickleWhole(file.name, name, bytes);
  const offsets = new Map<string, number>();
  return new TorchFile(file, value, async (storage) => {
    const known = offsets.get(storage.key);
    const entry = entries.get(`${folder}data/${storage.key}`);
    const wanted = storage.count * NUMBER_BYTES[storage.dtype];
    if (entry === undefined || entry.size !== wanted) {
      throw invalidFile(file.name, `${folder}data/${storage.key}`, 'storage has another size', {
        expected: `${wanted} bytes`,
        found: entry === undefined ? 'no entry' : `${entry.size} bytes`,
      });
    }
    const offset = known ?? (await zipDataOffset(file, entry));
    offsets.set(storage.key, offset);
    return offset;
  });
}

function unpickleWhole(file: string, field: string, bytes: Uint8Array) {
  try {
    return unpickle(file, field, bytes);
  } catch (error) {
    if (!(error instanceof PickleEndsEarly)) throw error;
    const details = { expected: 'an end mark', found: `${bytes.length} bytes` };
    throw invalidFile(file, field, 'pickle ends early', details);
  }
}

async function readEntry(
  file: ByteFile,
  entry: ZipEntry | undefined,
  most: number,
): Promise<Uint8Array> {
  if (entry === undefined) return new Uint8Array();
  if (entry.size > most) {
    const details = { expected: `at most ${most} bytes`, found: entry.size };
    throw invalidFile(file.name, entry.name, 'entry is too large', details);
  }
  const bytes = new Uint8Array(entry.size);
  await file.read(await zipDataOffset(file, entry), bytes);
  return bytes;
}

async function requireLittleEndian(file: ByteFile, entry: ZipEntry | undefined): Promise<void> {
  const order = Buffer.from(await readEntry(file, entry, 64)).toString('latin1');
  if (order === '' || order === 'little') return;
  throw invalidFile(file.name, 'byteorder', 'unsupported byte order', {
    expected: 'little',
    found: order,
  });
}
