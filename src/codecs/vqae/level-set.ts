import type { ByteRequest } from '../descriptor.js';
import { largestFitting } from '../size-search.js';
import { codebookFor, fewestSegments } from './plan.js';

export interface VqaeSized {
  readonly name: 'vqae';
  readonly dh: number;
  readonly dc: number;
  readonly k: number;
}

export interface VqaeSetting {
  readonly codec: VqaeSized;
  /** The one to take if nothing else is known. */
  readonly suggested: boolean;
}

/** Most of the budget that the decoder D may take: what it takes is not there for codes. */
const DECODER_SHARE = 0.2;
const LARGEST_CODEBOOK = 2048;

/**
 * Settings (dh, dc, k) of about the same size, one per codebook size (the paper's section 5.3 found them about
 * equally good): as many segments as fit, dh near the number of classes, or as much as a fifth of the budget
 * pays for. The suggested one has the codebook of the paper's setting nearest in compression, as far as the
 * labels can train it.
 */
export function vqaeLevelSet(request: ByteRequest<VqaeSized>): VqaeSetting[] {
  const { labels, budget } = request;
  const { classes } = labels;
  const afford = Math.floor((DECODER_SHARE * budget) / (4 * classes));
  // A small decoder still reaches every direction that labels have.
  const most = Math.max(1, Math.min(classes, afford));
  const wanted = codebookFor(labels, budget);
  const settings: VqaeSetting[] = [];
  for (let k = 2; k <= LARGEST_CODEBOOK; k *= 2) {
    const choice = (m: number): VqaeSized => {
      const dc = Math.floor(most / m);
      return { name: 'vqae', dh: m * dc, dc, k };
    };
    const codec = largestFitting(request, most, choice, fewestSegments(labels, most, k));
    if (codec !== undefined) settings.push({ codec, suggested: k === wanted });
  }
  return settings;
}
