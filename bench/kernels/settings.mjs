// Measured settings, those of the paper, and the ratios that softpack promises on one thread with float32 output.

export const CLASSES = 1000;
/** Temperature of ordinary labels, the paper's; and of low-entropy ones, with most of the mass in a few entries. */
export const TAU = 20;
export const LOW_TAU = 1;
/** Floor of the clamp head. */
export const EPS = 1e-6;

/** The paper's segment settings for 10x to 200x: dh, dc, k. */
export const SETTINGS = [
  setting(795, 5, 1024),
  setting(990, 15, 2048),
  setting(1000, 20, 1024),
  setting(1000, 25, 512),
  setting(1000, 50, 128),
  setting(1000, 100, 64),
];

/** Every operation, in the order of the report, with its description. */
export const OPERATIONS = {
  decode: 'packed codes of consecutive labels to labels',
  'decode-gather': 'packed codes of labels in random order to labels',
  'decode-one': 'packed code of one label to a label, a few labels in turn: latency of a warm call',
  encode: 'labels at temperature 20 to packed codes',
  'encode-low-entropy': 'labels at temperature 1 to packed codes',
  nearest: 'latent vectors to indices of codewords',
  decode_kl: 'packed codes and student logits to losses and gradients',
  project: 'labels to latent vectors: a matrix product',
};

/** Operations of one input each, which has no dh, dc and k; on one thread. */
export const STREAMS = {
  'rans-decode': 'bytes of entropy-coded blocks to integers',
  'rans-encode': 'integers to bytes of entropy-coded blocks',
  'tokens-decode': "blocks of tokens' labels to ids and probabilities",
  'tokens-encode': "listed ids and values of tokens' labels to bits",
  'tokens-list': 'logits of a vocabulary to the most probable ids',
};

/**
 * Largest allowed errors of softpack's results against float64, as verify.mjs defines them. `fastest` may round to
 * bfloat16. A gradient is a difference of labels: relative to itself, it has several times their errors.
 */
export function errorBound(op, impl, out) {
  if (op === 'encode' || op === 'encode-low-entropy' || op === 'nearest') return 1e-5;
  // Latent vectors are small differences of large sums: the projection has the mean label's folded in.
  if (op === 'project') return 1e-5;
  const ofLabels = LABEL_ERRORS.find(([name]) => impl.startsWith(`softpack ${name}`))[1];
  if (op === 'decode_kl') return 5 * ofLabels;
  return Math.max(ofLabels, OUTPUT_ERRORS[out]);
}

const LABEL_ERRORS = [
  ['exact', 2e-6],
  ['fastest', 4e-3],
  ['fast', 2e-3],
  ['latent', 2e-6],
  ['table', 2e-6],
  ['fixed', 2e-3],
  ['bfloat', 4e-3],
  ['split', 1e-5],
];
/** Half of the last place, and a small allowance for the float32 before it. */
const OUTPUT_ERRORS = { float32: 0, float16: 2 ** -11, bfloat16: 2 ** -8 };

function setting(dh, dc, k) {
  return { dh, dc, k, segments: dh / dc, bits: Math.log2(k), name: `${dc},${k}` };
}
