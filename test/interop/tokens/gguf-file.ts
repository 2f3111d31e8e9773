/** A tensor as a GGUF file has it. */
export interface StoredTensor {
  readonly name: string;
  /** The slowest dimension first. */
  readonly shape: readonly number[];
  readonly type: number;
  readonly bytes: Uint8Array;
}

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const padding = (length: number) => Buffer.alloc((32 - (length % 32)) % 32);

/** Facts are strings, whole numbers (u32), other numbers (f32), or lists of strings. */
export type Fact = string | number | readonly string[];

function factBytes(value: Fact): Buffer {
  if (typeof value === 'string') return Buffer.concat([u32(8), text(value)]);
  if (typeof value !== 'number') {
    return Buffer.concat([u32(9), u32(8), u64(value.length), ...value.map(text)]);
  }
  if (Number.isInteger(value)) return Buffer.concat([u32(4), u32(value)]);
  return Buffer.concat([u32(6), Buffer.from(Float32Array.of(value).buffer)]);
}

/** A GGUF file, version 3, by its specification. */
export function ggufFile(
  facts: Readonly<Record<string, Fact>>,
  tensors: readonly StoredTensor[],
): Buffer {
  const entries: Buffer[] = [];
  const parts: Buffer[] = [];
  let offset = 0;
  for (const { name, shape, type, bytes } of tensors) {
    const dimensions = [...shape].reverse().map(u64);
    const place = [u32(type), u64(offset)];
    entries.push(Buffer.concat([text(name), u32(shape.length), ...dimensions, ...place]));
    parts.push(Buffer.from(bytes), padding(bytes.length));
    offset += bytes.length + padding(bytes.length).length;
  }
  const told = Object.entries(facts).map(([name, value]) =>
    Buffer.concat([text(name), factBytes(value)]),
  );
  const counts = [u64(tensors.length), u64(told.length)];
  const start = Buffer.concat([Buffer.from('GGUF'), u32(3), ...counts, ...told, ...entries]);
  return Buffer.concat([start, padding(start.length), ...parts]);
}
