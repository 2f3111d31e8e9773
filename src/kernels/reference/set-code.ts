import { type BitReader, type BitWriter, readBelow, writeBelow } from '../../core/bit-stream.js';

/**
 * Binary interpolative code (Moffat and Stuiver, "Binary interpolative coding for effective index compression", 2000): the
 * middle number of an ascending list lies between bounds that leave room for the others, then come both halves. Integers
 * only, so the bits are the same on every machine. 20 of 49,152 ids that are renamed by frequency take about 168 bits.
 */

/** @param values ascending, all different, below `range`. */
export function writeSet(writer: BitWriter, values: ArrayLike<number>, range: number): void {
  const visit = (from: number, to: number, low: number, high: number): void => {
    if (from === to) return;
    const middle = (from + to) >>> 1;
    const least = low + (middle - from);
    const most = high - (to - 1 - middle);
    writeBelow(writer, values[middle] - least, most - least + 1);
    visit(from, middle, low, values[middle] - 1);
    visit(middle + 1, to, values[middle] + 1, high);
  };
  visit(0, values.length, 0, range - 1);
}

/** Fills `out` with what {@link writeSet} wrote of as many numbers. */
export function readSet(reader: BitReader, out: Uint32Array, range: number): void {
  const visit = (from: number, to: number, low: number, high: number): void => {
    if (from === to) return;
    const middle = (from + to) >>> 1;
    const least = low + (middle - from);
    const most = high - (to - 1 - middle);
    out[middle] = least + readBelow(reader, most - least + 1);
    visit(from, middle, low, out[middle] - 1);
    visit(middle + 1, to, out[middle] + 1, high);
  };
  visit(0, out.length, 0, range - 1);
}

/** Ascending numbers that may repeat: number i is raised by i, so that all differ. */
export function writeMultiset(writer: BitWriter, values: ArrayLike<number>, range: number): void {
  const raised = Array.from(values, (value, i) => value + i);
  writeSet(writer, raised, range + Math.max(values.length - 1, 0));
}

export function readMultiset(reader: BitReader, out: Uint32Array, range: number): void {
  readSet(reader, out, range + Math.max(out.length - 1, 0));
  for (let i = 0; i < out.length; i++) out[i] -= i;
}

/** The same as how many differ, these, and where each but the first begins among them. @param values at least one. */
export function writeCounted(writer: BitWriter, values: ArrayLike<number>, range: number): void {
  const count = values.length;
  const starts = Array.from(values, (_, i) => i).filter(
    (i) => i === 0 || values[i] !== values[i - 1],
  );
  writeBelow(writer, starts.length - 1, Math.min(count, range));
  writeSet(
    writer,
    starts.map((i) => values[i]),
    range,
  );
  writeSet(
    writer,
    starts.slice(1).map((i) => i - 1),
    count - 1,
  );
}

export function readCounted(reader: BitReader, out: Uint32Array, range: number): void {
  const names = new Uint32Array(readBelow(reader, Math.min(out.length, range)) + 1);
  const starts = new Uint32Array(names.length - 1);
  readSet(reader, names, range);
  readSet(reader, starts, out.length - 1);
  for (const [i, name] of names.entries()) out.fill(name, i === 0 ? 0 : starts[i - 1] + 1);
}
