import { SoftpackError } from '../errors.js';
import type { NoneConfig } from './none.js';
import { type TopKConfig, topKBits, topKForm } from './top-k.js';
import { vqaeForRatio } from './vqae/plan.js';

/**
 * Which codec, and how large: by its parameters, or by `ratio`, how many times smaller than float16 its codes
 * must be at least.
 */
export type CodecChoice = Readonly<
  | ({ name?: 'vqae' } & ({ ratio: number } | { dh: number; dc: number; k: number }))
  | { name: 'none'; store?: NoneConfig['store'] }
  | ({ name: 'topk' } & Partial<Pick<TopKConfig, 'values' | 'rest'>> & Size)
  | ({ name: 'pca' | 'rpca' } & Size)
  | ({ name: 'scalar' } & ({ ratio: number } | { levels: number }))
  | ({ name: 'vq' } & ({ ratio: number } | { dc: number; k: number }))
  /** `groups`: one number a sample; samples of a group share one label. Default: each sample its own. */
  | { name: 'mean'; groups?: Uint32Array }
>;

type Size = { ratio: number } | { k: number };

/** Whose parameters are all given: what every choice comes down to. */
export type SizedChoice = Exclude<CodecChoice, { ratio: number }> & { readonly name: string };

/** The parameters that reach the ratio asked for; `INVALID_ARGUMENT` where none do. */
export function sizedChoice(choice: CodecChoice, classes: number, labels: number): SizedChoice {
  if (!('ratio' in choice)) return { name: 'vqae', ...choice } as SizedChoice;
  const { ratio, name = 'vqae' } = choice;
  if (!(ratio >= 1)) throw unreachable('a number of at least 1', ratio);
  // A hair above, so that a ratio which parameters meet exactly is not lost to rounding.
  const bits = (16 * classes * (1 + 1e-12)) / ratio;
  const atLeastOne = (value: number, highest: number) => {
    if (value >= 1) return Math.min(value, highest);
    throw unreachable(`less for ${classes} classes by ${name}`, ratio);
  };
  switch (name) {
    case 'vqae':
      return { name, ...vqaeForRatio(classes, ratio, labels) };
    case 'topk': {
      const form = topKForm(choice as Extract<CodecChoice, { name: 'topk' }>);
      const each = topKBits({ classes, k: 1, ...form });
      return { name, k: atLeastOne(Math.floor(bits / each), classes), ...form };
    }
    case 'pca':
    case 'rpca':
      return { name, k: atLeastOne(Math.floor(bits / 16), classes) };
    case 'scalar':
      return { name, levels: 2 ** atLeastOne(Math.floor(bits / classes), 16) };
    case 'vq': {
      const { dh, dc, k } = vqaeForRatio(classes, ratio, labels);
      return { name, dc: Math.ceil(classes / (dh / dc)), k };
    }
    default:
      throw new SoftpackError('INVALID_ARGUMENT', 'this codec has no size to choose', {
        field: 'ratio',
        expected: 'no ratio',
        found: name,
      });
  }
}

function unreachable(expected: string, found: number): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'not a compression ratio', {
    field: 'ratio',
    expected,
    found,
  });
}
