import { invalidFile } from '../../errors.js';
import { openLocalFileSync, regularFileSize, type SyncByteFile } from '../../store/local.js';

/**
 * Messages of onnx.proto that lead to tensors: field number -> message. Tensors are initializers, parts of sparse ones,
 * and attributes of nodes, also in subgraphs and functions.
 */
const MESSAGES = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  function: { 7: 'node', 11: 'attribute' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: { 13: 'entry' },
  entry: {},
} as const satisfies Record<string, Readonly<Record<number, string>>>;

type Message = keyof typeof MESSAGES;

/** Subgraphs in subgraphs; no exporter comes near. */
const MAX_DEPTH = 64;
/** File names are shorter. */
const MAX_TEXT = 64 * 1024;
const WINDOW = 64 * 1024;
const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5];

/**
 * The files that an ONNX model keeps tensors in, as the model names them: `location` of every `external_data`. Reads the
 * structure only, not the tensors. `INVALID_FILE` if the bytes are not protocol buffers.
 */
export async function externalFiles(path: string): Promise<readonly string[]> {
  const size = await regularFileSize(path);
  using file = openLocalFileSync(path);
  const reader = new ProtoReader(path, file, size);
  const locations = new Set<string>();
  reader.walk('model', 0, size, locations, 0);
  return [...locations];
}

class ProtoReader {
  readonly #path: string;
  readonly #file: SyncByteFile;
  readonly #size: number;
  #window = new Uint8Array(0);
  #begin = 0;

  constructor(path: string, file: SyncByteFile, size: number) {
    this.#path = path;
    this.#file = file;
    this.#size = size;
  }

  walk(message: Message, from: number, end: number, found: Set<string>, depth: number): void {
    if (depth > MAX_DEPTH) throw this.#invalid(from);
    const inner: Readonly<Record<number, Message>> = MESSAGES[message];
    let key = '';
    let at = from;
    while (at < end) {
      const tag = this.#varint(at, end);
      const [field, wire] = [Math.floor(tag.value / 8), tag.value % 8];
      if (wire !== BYTES) {
        at = this.#afterScalar(wire, tag.next, end);
        continue;
      }
      const length = this.#varint(tag.next, end);
      const next = length.next + length.value;
      if (next > end) throw this.#invalid(at);
      if (message === 'entry' && field <= 2) {
        const text = this.#text(length.next, next);
        if (field === 1) key = text;
        else if (key === 'location') found.add(text);
      } else if (inner[field] !== undefined) {
        this.walk(inner[field], length.next, next, found, depth + 1);
      }
      at = next;
    }
  }

  #afterScalar(wire: number, at: number, end: number): number {
    const next =
      wire === VARINT
        ? this.#varint(at, end).next
        : wire === FIXED64
          ? at + 8
          : wire === FIXED32
            ? at + 4
            : Number.NaN;
    if (!(next <= end)) throw this.#invalid(at);
    return next;
  }

  #varint(at: number, end: number): { readonly value: number; readonly next: number } {
    let value = 0;
    // Ten bytes at most; values beyond 2^53 are no lengths, and are only skipped.
    for (let i = 0; i < 10 && at + i < end; i++) {
      const byte = this.#byte(at + i);
      value += (byte % 128) * 2 ** (7 * i);
      if (byte < 128) return { value, next: at + i + 1 };
    }
    throw this.#invalid(at);
  }

  #text(from: number, to: number): string {
    if (to - from > MAX_TEXT) throw this.#invalid(from);
    const bytes = new Uint8Array(to - from);
    this.#file.read(from, bytes);
    return new TextDecoder().decode(bytes);
  }

  #byte(at: number): number {
    if (at < this.#begin || at >= this.#begin + this.#window.length) {
      this.#window = new Uint8Array(Math.min(WINDOW, this.#size - at));
      this.#file.read(at, this.#window);
      this.#begin = at;
    }
    return this.#window[at - this.#begin];
  }

  #invalid(at: number) {
    return invalidFile(this.#path, 'model', 'not an ONNX file', {
      found: `no field at byte ${at}`,
    });
  }
}
