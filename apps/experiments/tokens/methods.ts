import type { TokenCodecChoice } from '#src/tokens/pack-tokens.js';
import type { HiddenChoice } from './packed.js';
import type { Lesson } from './train.js';

/** A row of the table: what a student learns from. */
export interface TokenMethod {
  readonly name: string;
  readonly lesson: Lesson;
  readonly codec?: TokenCodecChoice | HiddenChoice;
  /** The student sees the teacher's states: it can learn all that labels tell. Default: it reads the text alone. */
  readonly strong?: boolean;
  /** The texts are the teacher's most probable answers instead of those that were drawn. */
  readonly greedy?: boolean;
  /** Added to the seed of the texts' order. */
  readonly order?: number;
  /** Compared with it; default: online distillation. */
  readonly base?: string;
}

export const ONLINE = 'online distillation';
export const RENORMALISED = 'top-20, VQ, renormalised';
const STRONG = 'strong student: ';

const VQ = { name: 'topk-vq' } as const;
const ONLINE_KD: TokenMethod = { name: ONLINE, lesson: 'teacher' };
const TOP: TokenMethod = { name: RENORMALISED, lesson: 'labels', codec: VQ };
const EIGHT: TokenMethod = {
  name: '`tiny`: 8 + 8 sampled',
  lesson: 'labels',
  codec: { name: 'tiny' },
};

const FIFTY: TokenMethod = { name: '50 sampled', lesson: 'labels', codec: { name: 'sampled' } };
/** In about the bytes of renormalised top-20. */
const SIXTY_FOUR: TokenMethod = {
  name: '64 sampled',
  lesson: 'labels',
  codec: { name: 'sampled', samples: 64 },
};

const PREDICTED: TokenMethod = { name: 'predicted from the text, no label', lesson: 'predictor' };

/** Measured first, for all seeds: what decides whether labels of a few ids teach what the teacher does. */
const DECISIVE: readonly TokenMethod[] = [
  ONLINE_KD,
  TOP,
  EIGHT,
  { name: '`head-tail`: 12 + 8 sampled', lesson: 'labels', codec: { name: 'head-tail' } },
  FIFTY,
];

const OTHERS: readonly TokenMethod[] = [
  SIXTY_FOUR,
  { name: '12 sampled', lesson: 'labels', codec: { name: 'sampled', samples: 12 } },
  PREDICTED,
  { name: 'text drawn from the teacher (SeqKD)', lesson: 'text' },
  { name: 'top-20, VQ, ghost', lesson: 'labels', codec: { ...VQ, tail: 'ghost' } },
  { name: 'top-20, VQ, uniform', lesson: 'labels', codec: { ...VQ, tail: 'uniform' } },
];

/** Those that take longest, for their labels or for texts of their own. */
const SLOW: readonly TokenMethod[] = [
  { name: '`hidden`, KL .005', lesson: 'labels', codec: { name: 'hidden', kl: 0.005 } },
  { name: 'online distillation, texts in another order', lesson: 'teacher', order: 1000 },
  { name: '`hidden`, KL .02', lesson: 'labels', codec: { name: 'hidden', kl: 0.02 } },
  { name: "the teacher's greedy answers (SFT)", lesson: 'text', greedy: true },
];

/** The student sees the teacher's states, so that it can learn what a predictor cannot know. */
const SEEING: readonly TokenMethod[] = [ONLINE_KD, TOP, FIFTY, SIXTY_FOUR, PREDICTED, EIGHT].map(
  (own) => ({
    ...own,
    name: STRONG + own.name,
    strong: true,
    base: STRONG + ONLINE,
  }),
);

/** In the order in which they are measured, groups first. */
export const GROUPS: readonly (readonly TokenMethod[])[] = [DECISIVE, SEEING, OTHERS, SLOW];
