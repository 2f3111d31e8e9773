// A seeded stand-in for a teacher of tokens: logits that fall like Zipf's law, of ids that differ from place to place.
import { randomSequence } from './tools.mjs';

export const SEQUENCES = 4;
export const LENGTH = 256;

export function tokenSource(vocabulary) {
  const falling = Float32Array.from({ length: vocabulary }, (_, id) => -0.7 * Math.log(id + 10));
  const read = (sequence) => async (start, count) => {
    const logits = new Float32Array(count * vocabulary);
    for (let i = 0; i < count; i++) {
      const own = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
      fillLogits(own, falling, 1 + sequence * LENGTH + start + i);
    }
    return logits;
  };
  return {
    vocabulary,
    async *sequences() {
      for (let s = 0; s < SEQUENCES; s++) {
        const random = randomSequence(7919 + s);
        const tokens = Int32Array.from({ length: LENGTH }, () => vocabulary ** random());
        const labels = { kind: 'logits', width: vocabulary, read: read(s) };
        yield { name: `text ${s}`, tokens, first: 0, rows: LENGTH, labels };
      }
    },
  };
}

/** An id's own frequency, noise, and a few ids that fit here. */
function fillLogits(out, falling, seed) {
  const random = randomSequence(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const noise = Float64Array.from({ length: 4096 }, normal);
  const shift = Math.floor(4096 * random());
  for (let id = 0; id < out.length; id++) {
    out[id] = 1.5 * noise[(Math.imul(id, 2654435761) + shift) & 4095] + falling[id];
  }
  for (let i = 0; i < 60; i++) out[Math.floor(out.length ** random())] += 3 * random();
}
