import { beforeEach, expect, test } from 'vitest';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { temporaryDirectory } from '../temporary.js';
import { hiddenTeacher } from '../tokens/hidden-sources.js';
import { floatsOf, hasModule, python, runJobs } from './python.js';

const missing = !hasModule('numpy');
const reason = `${python} has no numpy; name a Python that has by SOFTPACK_PYTHON`;
beforeEach((context) => context.skip(missing, reason));
const temporary = await temporaryDirectory();

test.each([0, 5])(
  'hidden states are those of softpack, wherever reading starts, with %i corrected logits',
  async (exact) => {
    const { source, head } = hiddenTeacher(61, 10, [1, 0, 128, 300]);
    const out = temporary.path(`hidden-${exact}`);
    await packHidden({ source, head, out, kl: 0.02, exact, storeHead: true });
    const ranges = [
      ...[1, 0, 128, 300].map((count, s) => [s, 0, count]),
      ...[
        [3, 127, 2],
        [3, 128, 172],
        [3, 299, 1],
        [3, 300, 0],
      ],
    ];
    const [found] = runJobs([{ kind: 'hidden', archive: out, ranges }]);
    await using archive = await openHiddenArchive(out);
    expect(found).toMatchObject({ kind: 'hidden', width: 10, headSha256: archive.headSha256 });
    expect(floatsOf(found.head)).toEqual(head.weights);
    const read = found.read as readonly Record<string, unknown>[];
    for (const [i, [sequence, start, count]] of ranges.entries()) {
      const labels = await archive.labels(sequence, { start, count });
      const { hidden, next, first } = labels;
      if (exact === 0) expect(read[i]).toMatchObject({ ids: null, corrections: null });
      else {
        expect(read[i].ids).toEqual(Array.from(labels.exact?.ids ?? []));
        expect(floatsOf(read[i].corrections)).toEqual(labels.exact?.corrections);
      }
      expect(read[i]).toMatchObject({ next: Array.from(next), first });
      const own = floatsOf(read[i].hidden);
      expect(own).toHaveLength(hidden.length);
      const worst = own.reduce((w, value, j) => Math.max(w, Math.abs(value - hidden[j])), 0);
      expect(worst).toBeLessThan(1e-4);
    }
  },
);
