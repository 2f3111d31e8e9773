import { bitsFor } from '../core/bits.js';
import { argument } from '../core/check.js';
import { TOKEN_LIMITS } from '../kernels/tokens.js';
import { MAX_VOCABULARY, TOKEN_PRESETS, type TokenPreset } from '../tokens/config.js';
import { textSymbols } from '../tokens/text-code.js';
import { textRanks } from '../tokens/text-ranks.js';

/** What sizes of labels of language models follow from. */
export interface TokenPlanRequest {
  /** Ids of the teacher's tokenizer. */
  readonly vocabulary: number;
  /** Labels, one per token. */
  readonly tokens: number;
  /** Ids drawn per label, of kinds that draw any; default: each kind's. */
  readonly draws?: number;
  /** Dimensions of the teacher's hidden states; without it hidden states are left out. */
  readonly width?: number;
  /** Size of the teacher's file. */
  readonly teacherBytes?: number;
}

export interface TokenKindPlan {
  readonly name: TokenPreset | 'hidden';
  /** Bytes per token. */
  readonly perToken: {
    /** Ids of the text. */
    readonly text: number;
    /** Ids of the head. */
    readonly ids: number;
    readonly order: number;
    readonly values: number;
    readonly samples: number;
    /** Where groups of labels begin. */
    readonly offsets: number;
    readonly total: number;
  };
  /** Tables that come once, in bytes. */
  readonly side: number;
  /** Codes and tables. */
  readonly bytes: number;
  /** Whether the teacher's file is smaller; absent if its size is not known. */
  readonly teacherIsSmaller?: boolean;
}

export interface TokenPlan {
  readonly kinds: readonly TokenKindPlan[];
  /** What is usual, bytes per token: float16 logits, 20 ids of 4 bytes with float16 values, hidden states. */
  readonly usual: readonly { readonly name: string; readonly perToken: number }[];
  /** The teacher's output matrix as float16: hidden states need it, stored or from the teacher. */
  readonly head?: number;
  /** The teacher's file, spread over the tokens. */
  readonly teacherPerToken?: number;
}

/**
 * Bits per id that renaming by frequency saves of log2(vocabulary / ids of a label), heads and samples. Measured on
 * SmolLM2-135M (vocabulary 49,152, 15,000 labels of English); a peakier teacher saves more.
 */
const HEAD_SAVING = 2.8;
const SAMPLE_SAVING = 0.9;
/** Bits per id of a text that its code, which labels tell of, saves of log2(vocabulary). */
const LISTED_TEXT_SAVING = 9.9;
/**
 * Bits per dimension of a hidden state at a divergence of 0.005 nats, on the same model with 576 dimensions: 2.95 of states
 * alone, and what 16 corrected logits were measured to save of that.
 */
const HIDDEN_BITS = 2.25;
/** Logits that a label corrects, of 16 at most, and bits of a correction. */
const EXACT = { most: 16, mean: 13.3, bits: 4.5 } as const;
/** Ids that differ among draws (14.1, 19.5, 23.3, 32.2 of 32, 50, 64, 100 on the same model), and what renaming saves of each. */
const DRAWN = { factor: 1.147, exponent: 0.725, saving: 2.35 } as const;
/** Labels between two offsets of 32 bits. */
const GROUP = 64;
const HIDDEN_GROUP = 128;

/** Predicts bytes per token, apart by what they are for, of each kind of label. */
export function planTokens(request: TokenPlanRequest): TokenPlan {
  const { vocabulary, tokens, draws, width, teacherBytes } = request;
  argument.count(vocabulary, 'vocabulary', 2, MAX_VOCABULARY);
  argument.count(tokens, 'tokens', 1);
  if (draws !== undefined) argument.count(draws, 'draws', 1, TOKEN_LIMITS.samples);
  if (width !== undefined) argument.count(width, 'width', 1, 2 ** 16);
  if (teacherBytes !== undefined) argument.count(teacherBytes, 'teacherBytes', 1);
  const names = Object.keys(TOKEN_PRESETS) as TokenPreset[];
  const listed = names.map((name) => listedPlan(name, request));
  const hidden = width === undefined ? [] : [hiddenPlan(width, request)];
  const usual = [
    { name: 'float16 logits', perToken: 2 * vocabulary },
    { name: '20 ids (int32) and float16 values', perToken: 120 },
    ...(width === undefined
      ? []
      : [
          { name: 'hidden states, bfloat16', perToken: 2 * width },
          { name: 'hidden states, FP8 and a scale', perToken: width + 4 },
        ]),
  ];
  return {
    kinds: [...listed, ...hidden],
    usual,
    ...(width === undefined ? {} : { head: 2 * vocabulary * width }),
    ...(teacherBytes === undefined ? {} : { teacherPerToken: teacherBytes / tokens }),
  };
}

function listedPlan(name: TokenPreset, request: TokenPlanRequest): TokenKindPlan {
  const { vocabulary } = request;
  const preset = TOKEN_PRESETS[name];
  const k = Math.min(preset.k, vocabulary);
  const ordered = Math.min(preset.ordered, k);
  const { stages, values, tail } = preset;
  const samples = tail === 'sampled' ? (request.draws ?? preset.samples) : 0;
  let order = 0;
  for (let rank = 0; rank < ordered; rank++) order += Math.log2(k - rank);
  const vectorWidth = ordered + (k > ordered ? 1 : 0);
  const vq = values === 'vq';
  return whole(name, request, {
    text: Math.max(Math.log2(vocabulary) - LISTED_TEXT_SAVING, 1),
    ids: k * bitsPerId(vocabulary, k, HEAD_SAVING) + (vq || k === 0 ? 0 : Math.log2(k + 1)),
    order,
    values: vq ? 8 * stages : 16 * k,
    samples:
      k === 0
        ? countedBits(vocabulary, samples)
        : samples * bitsPerId(vocabulary, samples, SAMPLE_SAVING),
    offsets: 32 / GROUP,
    side:
      sharedTables(vocabulary, textRanks({ ...preset, samples, k })) +
      (vq ? 4 * vectorWidth * (256 * stages + 1) : 0),
  });
}

/** Draws from a whole distribution: how many ids differ, these, and how the draws are shared among them. */
function countedBits(vocabulary: number, draws: number): number {
  const ids = Math.min(vocabulary, draws, DRAWN.factor * draws ** DRAWN.exponent);
  const share = draws === 1 ? 1 : (ids - 1) / (draws - 1);
  const entropy = share < 1 ? -share * Math.log2(share) - (1 - share) * Math.log2(1 - share) : 0;
  return Math.log2(draws) + ids * bitsPerId(vocabulary, ids, DRAWN.saving) + (draws - 1) * entropy;
}

/** Names of ids, and the code of texts. */
function sharedTables(vocabulary: number, ranks: number): number {
  const names = (vocabulary <= 2 ** 16 ? 2 : 4) * vocabulary;
  return names + 2 * textSymbols(vocabulary, ranks);
}

/** At least the bit that tells two ids apart. */
function bitsPerId(vocabulary: number, count: number, saving: number): number {
  return count === 0 ? 0 : Math.max(Math.log2(vocabulary / count) - saving, 1);
}

function hiddenPlan(width: number, request: TokenPlanRequest): TokenKindPlan {
  const { vocabulary } = request;
  const most = Math.min(EXACT.most, Math.floor(vocabulary / 4));
  const listed = (EXACT.mean / EXACT.most) * most;
  const names = most === 0 ? 0 : (vocabulary <= 2 ** 16 ? 2 : 4) * vocabulary;
  return whole('hidden', request, {
    text: bitsFor(vocabulary),
    ids: listed * bitsPerId(vocabulary, most, HEAD_SAVING) + Math.log2(most + 1),
    ...{ order: 0, samples: 0, values: HIDDEN_BITS * width + EXACT.bits * listed },
    offsets: 32 / HIDDEN_GROUP,
    side: 2 * width * width + 20 * width + names,
  });
}

interface Parts {
  /** Bits per label. */
  readonly text: number;
  readonly ids: number;
  readonly order: number;
  readonly values: number;
  readonly samples: number;
  readonly offsets: number;
  /** Bytes. */
  readonly side: number;
}

function whole(
  name: TokenKindPlan['name'],
  { tokens, teacherBytes }: TokenPlanRequest,
  { side, ...bits }: Parts,
): TokenKindPlan {
  const { text, ids, order, values, samples, offsets } = bits;
  const total = (text + ids + order + values + samples + offsets) / 8;
  const perToken = {
    ...{ text: text / 8, ids: ids / 8, order: order / 8, values: values / 8 },
    ...{ samples: samples / 8, offsets: offsets / 8, total },
  };
  const bytes = Math.round(total * tokens) + side;
  const known = teacherBytes === undefined ? {} : { teacherIsSmaller: teacherBytes < bytes };
  return { name, perToken, side, bytes, ...known };
}
