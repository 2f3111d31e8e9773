/** Texts in shared memory, found by index: threads read a million file names from one copy. */
export interface TextTable {
  readonly count: number;
  /** UTF-8, one text after the other, over a SharedArrayBuffer. */
  readonly bytes: Uint8Array;
  /** [count + 1], where each text begins. */
  readonly offsets: Uint32Array;
}

export function textTable(texts: readonly string[]): TextTable {
  const encoded = Buffer.from(texts.join(''));
  const bytes = new Uint8Array(new SharedArrayBuffer(encoded.length));
  bytes.set(encoded);
  const offsets = new Uint32Array(new SharedArrayBuffer(4 * (texts.length + 1)));
  let end = 0;
  for (const [i, text] of texts.entries()) {
    end += Buffer.byteLength(text);
    offsets[i + 1] = end;
  }
  return { count: texts.length, bytes, offsets };
}

export function textAt({ bytes, offsets }: TextTable, index: number): string {
  return Buffer.from(bytes.subarray(offsets[index], offsets[index + 1])).toString();
}
