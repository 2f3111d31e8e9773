import type { LabelArchive } from '../archive/archive.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { isSoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { softmaxRows } from '../labels/temperature.js';
import type { ByteStore } from '../store/byte-store.js';
import { headLogits } from '../tokens/hidden/head-logits.js';
import { type HiddenLabels, openHiddenArchive } from '../tokens/hidden/hidden-archive.js';
import { HIDDEN_CODEC } from '../tokens/hidden/hidden-codec.js';
import type { OutputHead } from '../tokens/hidden/output-head.js';
import type { ExactLogits } from '../tokens/targets.js';
import { openTokenArchive } from '../tokens/token-archive.js';
import { TOKEN_CODEC } from '../tokens/token-codec.js';

/** A text of an archive of token labels, as pages show it. */
export interface ShownText {
  readonly sequence: number;
  /** Ids from position `from` on, as far as they are shown; absent if only labels were stored. */
  readonly tokens?: readonly number[];
  readonly from: number;
  /** All tokens of the text. */
  readonly length: number;
  /** Position of the first label. */
  readonly first: number;
  /** Labels of consecutive positions: what may follow, likeliest first. None of hidden states without a matrix. */
  readonly labels: readonly (readonly ShownToken[])[];
}

export interface ShownToken {
  readonly id: number;
  readonly p: number;
}

/** Reads single texts. */
export interface TextReader extends AsyncDisposable {
  readonly texts: number;
  show(sequence: number): Promise<ShownText>;
}

const TEXTS = 6;
const TOKENS = 160;
const PROMPT = 48;
const LABELS = 64;
const TOP = 5;
/** Logits of hidden states take a product with the whole matrix each. */
const HIDDEN_LABELS = 16;

/** Texts of an archive of token labels or hidden states; undefined for other archives. */
export async function openTexts(
  { codecParts: { name } }: LabelArchive,
  from: string | ByteStore,
): Promise<TextReader | undefined> {
  if (name === TOKEN_CODEC) {
    const archive = await openTokenArchive(from);
    return readerOf(archive, async (sequence, count) => {
      const { ids, probabilities, width, positions } = await archive.labels(sequence, { count });
      return Array.from({ length: positions }, (_, i) => {
        const at = i * width;
        return topOf(ids.subarray(at, at + width), probabilities.subarray(at, at + width));
      });
    });
  }
  if (name !== HIDDEN_CODEC) return undefined;
  const archive = await openHiddenArchive(from);
  const head = headOf(archive);
  return readerOf(archive, async (sequence, labels) => {
    if (head === undefined) return [];
    const count = Math.min(labels, HIDDEN_LABELS);
    return likeliest(await archive.labels(sequence, { count }), head);
  });
}

/** A seeded draw of texts. */
export async function showTexts(reader: TextReader, seed: number): Promise<readonly ShownText[]> {
  const random = new RandomSequence(seed, STREAM.codec);
  const chosen = random.distinct(Math.min(TEXTS, reader.texts), reader.texts).sort();
  const texts: ShownText[] = [];
  for (const sequence of chosen) texts.push(await reader.show(sequence));
  return texts;
}

type Opened = Awaited<ReturnType<typeof openTokenArchive | typeof openHiddenArchive>>;

function readerOf(
  archive: Opened,
  labelsOf: (sequence: number, count: number) => Promise<ShownText['labels']>,
): TextReader {
  return {
    texts: archive.sequences,
    async show(sequence) {
      const { tokens, first, labels } = await archive.text(sequence);
      // Labels begin behind a prompt, which may be long: its end is shown.
      const from = Math.max(0, first - PROMPT);
      return {
        sequence,
        from,
        ...(tokens && { tokens: [...tokens.subarray(from, first + TOKENS)] }),
        length: tokens?.length ?? first + labels,
        first,
        labels: await labelsOf(sequence, Math.min(labels, LABELS)),
      };
    },
    [Symbol.asyncDispose]: () => archive.close(),
  };
}

function headOf(archive: { head(): OutputHead }): OutputHead | undefined {
  try {
    return archive.head();
  } catch (error) {
    if (isSoftpackError(error) && error.code === 'UNSUPPORTED') return undefined;
    throw error;
  }
}

function topOf(ids: Int32Array, probabilities: Float32Array): readonly ShownToken[] {
  return Array.from(ids, (id, i) => ({ id, p: probabilities[i] }))
    .filter(({ p }) => p > 0)
    .sort((a, b) => b.p - a.p)
    .slice(0, TOP);
}

function addCorrections(
  { width, ids, corrections }: ExactLogits,
  vocabulary: number,
  logits: Float32Array,
): void {
  for (const [i, id] of ids.entries()) {
    logits[Math.floor(i / width) * vocabulary + id] += corrections[i];
  }
}

/** The largest probabilities of each of some labels. */
async function likeliest(
  { hidden: states, exact, positions: rows }: HiddenLabels,
  head: OutputHead,
): Promise<ShownText['labels']> {
  if (rows === 0) return [];
  const { vocabulary } = head;
  const logits = await headLogits(states, head, loadKernels());
  if (exact !== undefined) addCorrections(exact, vocabulary, logits);
  softmaxRows(logits, rows, vocabulary, 1, logits);
  const ids = Int32Array.from({ length: vocabulary }, (_, id) => id);
  return Array.from({ length: rows }, (_, i) =>
    topOf(ids, logits.subarray(i * vocabulary, (i + 1) * vocabulary)),
  );
}
