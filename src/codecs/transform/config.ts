import type { FieldChecker } from '../../core/check.js';
import type { Trellis } from '../../kernels/rans.js';
import { type CommonConfig, checkCommon } from '../config.js';

/** Labels of an ImageNet teacher have up to 200 components worth their bits at 40x. */
export const MAX_COMPONENTS = 256;
/** Rates are chosen in steps of 1/64 bit. */
export const RATE_UNIT = 64;
/** A block is the least that is decoded: short ones suit random access, long ones cost fewer bytes. */
const LEAST_BLOCK = 256;
const LARGEST_BLOCK = 2048;
/** Blocks are about this long if they may. */
const BLOCK_BITS = 2 ** 17;

export interface TransformConfig extends CommonConfig {
  /** Number of base vectors, by sample id; 0 for none. */
  readonly bases: number;
  /** Present if they lie in blocks of so many samples, which a reader need not read whole. */
  readonly basesPerBlock?: number;
  /** Whether those in blocks are predicted from a class each; others are where there are classes. */
  readonly likeness?: boolean;
  /** Whether labels are predicted from what is mixed into their views, too. */
  readonly views: boolean;
  /** Components kept. */
  readonly components: number;
  /** Distance between values of a quantiser. */
  readonly step: number;
  /** Of the trellis; 1 for none. */
  readonly states: Trellis;
  /** Of basis and base vectors. Absent in old archives: 1. */
  readonly sideStates?: Trellis;
  readonly labelsPerBlock: number;
  /** Only of the codec `predictive`; absent if no network predicts labels. */
  readonly network?: NetworkConfig;
}

export interface NetworkConfig {
  /** Number of samples with an embedding, by sample id. */
  readonly embeddings: number;
  /** Weights of the layers are multiples of 2^-bits. */
  readonly innerBits: number;
  readonly outerBits: number;
}

export function checkTransformConfig(
  config: TransformConfig,
  check: FieldChecker,
): TransformConfig {
  const { classes, tau, bases, views, components, step, states, labelsPerBlock } = config;
  const { basesPerBlock, likeness, network, sideStates } = config;
  checkCommon(config, check);
  check.count(bases, 'bases', 0, 2 ** 32 - 1);
  check.flag(views, 'views');
  check.count(components, 'components', 1, Math.min(classes, MAX_COMPONENTS));
  check.positive(step, 'step');
  check.that([1, 4, 8].includes(states), states, 'states', '1, 4 or 8');
  const known = sideStates === undefined || [1, 4, 8].includes(sideStates);
  check.that(known, sideStates, 'sideStates', '1, 4 or 8');
  check.powerOfTwo(labelsPerBlock, 'labelsPerBlock', 1, 2 ** 16);
  if (network !== undefined) checkNetwork(network, check);
  if (basesPerBlock !== undefined) check.count(basesPerBlock, 'basesPerBlock', 1, 2 ** 16);
  if (likeness !== undefined) check.flag(likeness, 'likeness');
  const own = {
    ...(sideStates && { sideStates }),
    ...(basesPerBlock && { basesPerBlock }),
    ...(likeness && { likeness }),
    ...(network && { network }),
  };
  return { classes, tau, bases, views, components, step, states, labelsPerBlock, ...own };
}

function checkNetwork(network: NetworkConfig, check: FieldChecker): void {
  const known = typeof network === 'object' && network !== null;
  check.that(known, network, 'network', 'an object');
  check.count(network.embeddings, 'network.embeddings', 1, 2 ** 32 - 1);
  check.count(network.innerBits, 'network.innerBits', 0, 24);
  check.count(network.outerBits, 'network.outerBits', 0, 24);
}

export function blockFor(bitsPerLabel: number): number {
  const fitting = 2 ** Math.round(Math.log2(BLOCK_BITS / bitsPerLabel));
  return Math.min(Math.max(fitting, LEAST_BLOCK), LARGEST_BLOCK);
}
