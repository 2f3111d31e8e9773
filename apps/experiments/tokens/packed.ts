import * as tf from '@tensorflow/tfjs';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { packTokens, type TokenCodecChoice } from '#src/tokens/pack-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { tokenWindows } from '#src/tokens/windows.js';
import type { Answer } from './answer.js';
import { hiddenSourceOf, sourceOf } from './answers.js';
import type { PackedTexts } from './train.js';

/** Hidden states, aimed at a mean KL in nats. */
export interface HiddenChoice {
  readonly name: 'hidden';
  readonly kl: number;
}

export interface PackSetting {
  readonly out: string;
  readonly seed: number;
  readonly vocabulary: number;
  /** The teacher's output matrix, if there are hidden states. */
  readonly head?: OutputHead;
  readonly signal: AbortSignal;
}

/** Texts with their labels as an archive has them. */
export async function packTexts(
  texts: readonly Answer[],
  codec: TokenCodecChoice | HiddenChoice,
  { out, seed, vocabulary, head, signal }: PackSetting,
): Promise<PackedTexts> {
  if (codec.name !== 'hidden') {
    await packTokens({ source: sourceOf(texts, vocabulary), out, codec, seed, signal });
    const archive = await openTokenArchive(out);
    return {
      vocabulary,
      windows: (options) => tokenWindows(archive, options),
      [Symbol.asyncDispose]: () => archive.close(),
    };
  }
  if (head === undefined) throw new TypeError('hidden states without an output matrix');
  await packHidden({ source: hiddenSourceOf(texts, head), head, out, kl: codec.kl, signal });
  const archive = await openHiddenArchive(out);
  const weights = tf.tensor2d(head.weights, [vocabulary, head.width]);
  return {
    vocabulary,
    async *windows(options) {
      for await (const window of tokenWindows(archive, options)) {
        yield { ...window, targets: { ...window.targets, head: weights } };
      }
    },
    async [Symbol.asyncDispose]() {
      weights.dispose();
      await archive.close();
    },
  };
}
