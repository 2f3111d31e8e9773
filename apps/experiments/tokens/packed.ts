import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadKernels } from '#src/kernels/load.js';
import { logitsOfStates } from '#src/tokens/hidden/head-logits.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { packTokens, type TokenCodecChoice } from '#src/tokens/pack-tokens.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { tokenWindows } from '#src/tokens/windows.js';
import type { Answer } from './answer.js';
import { hiddenSource, type TeacherHead } from './corpus.js';
import type { PackedTexts } from './train.js';

/** Hidden states, aimed at a mean KL in nats. */
export interface HiddenChoice {
  readonly name: 'hidden';
  readonly kl: number;
}

export interface PackSetting {
  readonly out: string;
  readonly seed: number;
  readonly head: TeacherHead;
  readonly onProgress?: (done: number, texts: number) => void;
  readonly signal: AbortSignal;
}

/** Texts with their labels as an archive has them, which is made unless it is there. */
export async function packTexts(
  texts: readonly Answer[],
  codec: TokenCodecChoice | HiddenChoice,
  { out, seed, head, onProgress, signal }: PackSetting,
): Promise<PackedTexts> {
  const states = hiddenSource(texts, head);
  const finished = existsSync(join(out, 'manifest.json'));
  if (codec.name !== 'hidden') {
    const source = logitsOfStates(states, head, loadKernels());
    if (!finished) await packTokens({ source, out, codec, seed, onProgress, signal });
    const archive = await openTokenArchive(out);
    return {
      windows: (options) => tokenWindows(archive, options),
      [Symbol.asyncDispose]: () => archive.close(),
    };
  }
  if (!finished) await packHidden({ source: states, head, out, kl: codec.kl, onProgress, signal });
  const archive = await openHiddenArchive(out);
  return {
    async *windows(options) {
      for await (const window of tokenWindows(archive, options)) {
        yield { ...window, targets: { ...window.targets, head: head.tensor } };
      }
    },
    [Symbol.asyncDispose]: () => archive.close(),
  };
}
