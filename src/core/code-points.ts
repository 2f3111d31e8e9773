/**
 * Orders texts by Unicode code points, as Python's `sorted` and file systems do; JavaScript's own order is that of UTF-16
 * units, which puts emoji before letters from U+E000 on.
 */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Halves of surrogate pairs (U+D800 to U+DFFF) stand for code points above all others. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
