import { FieldChecker } from '../../core/check.js';
import type { JsonValue } from '../../core/json.js';
import { optionalPackage } from '../../core/optional-package.js';
import { errorMessage, invalidFile } from '../../errors.js';

/** `compression_config.yaml` of DistillKit: how each label is stored. */
export interface DistillKitConfig {
  /** Ids are below this. */
  readonly d: number;
  /** Entries per label. */
  readonly k: number;
  /** Of these, the first are stored as they are. */
  readonly exactK: number;
  readonly exactDtype: TermDtype;
  /** Powers of the rank, its root or its exponential: what the values of the rest are fitted by. */
  readonly terms: readonly (number | 'sqrt' | 'exp')[];
  readonly termDtype: TermDtype;
  /** What the fit leaves, in bins of integers with a scale. */
  readonly bins: readonly ResidualBin[];
  /** Values are differences from the one before. */
  readonly delta: boolean;
  /** Ranks run from 0 to 1 instead of counting. */
  readonly normalizeT: boolean;
}

export interface ResidualBin {
  readonly scaleDtype: TermDtype;
  readonly bits: number;
  readonly count: number;
}

export const TERM_BYTES = { float16: 2, bfloat16: 2, float32: 4, float64: 8 } as const;
export type TermDtype = keyof typeof TERM_BYTES;

const DTYPES = Object.keys(TERM_BYTES) as TermDtype[];
const MAX_K = 2 ** 16;
const MAX_D = 2 ** 22;

/** What is used of yaml. */
interface Yaml {
  parse(text: string, options: object): unknown;
}

export async function parseDistillKitConfig(file: string, text: string): Promise<DistillKitConfig> {
  const yaml = await optionalPackage<Yaml>('yaml', 'YAML files');
  let value: unknown;
  try {
    value = yaml.parse(text, { schema: 'core', maxAliasCount: 0, uniqueKeys: true });
  } catch (cause) {
    throw invalidFile(file, 'content', 'not YAML', { found: errorMessage(cause), cause });
  }
  return checkConfig(new FieldChecker(file, 'INVALID_FILE'), value);
}

function checkConfig(check: FieldChecker, value: unknown): DistillKitConfig {
  const fields = check.object(value, 'content');
  const dtype = (name: JsonValue | undefined, field: string, standard: TermDtype) =>
    name == null ? standard : check.oneOf(name, field, DTYPES);
  const flag = (name: 'delta_encoding' | 'normalize_t', standard: boolean) =>
    fields[name] == null ? standard : check.flag(fields[name], name);
  const k = check.count(fields.k, 'k', 1, MAX_K);
  const exactK = check.count(fields.exact_k, 'exact_k', 0, k);
  const terms = fields.polynomial_terms == null ? [] : fields.polynomial_terms;
  const config: DistillKitConfig = {
    d: check.count(fields.d, 'd', 2, MAX_D),
    ...{ k, exactK },
    exactDtype: dtype(fields.exact_dtype, 'exact_dtype', 'float32'),
    terms: check
      .list(terms, 'polynomial_terms')
      .map((term, i) => checkTerm(check, term, `polynomial_terms[${i}]`)),
    termDtype: dtype(fields.term_dtype, 'term_dtype', 'float32'),
    bins: check
      .list(fields.residual_bins ?? [], 'residual_bins')
      .map((bin, i) => checkBin(check, bin, `residual_bins[${i}]`, k)),
    delta: flag('delta_encoding', true),
    normalizeT: flag('normalize_t', false),
  };
  const rest = k - exactK;
  const count = config.bins.reduce((sum, bin) => sum + bin.count, 0);
  check.that(count <= rest, count, 'residual_bins', `at most ${rest} elements, k - exact_k`);
  const covered = rest === 0 || config.terms.length + count > 0;
  check.that(covered, exactK, 'exact_k', 'k, or terms or bins for the others');
  return config;
}

function checkTerm(check: FieldChecker, term: JsonValue, field: string): number | 'sqrt' | 'exp' {
  if (term === 'sqrt' || term === 'exp') return term;
  const valid = Number.isInteger(term) && Math.abs(Number(term)) <= 64;
  return check.that(valid, term, field, 'an integer, sqrt or exp') as number;
}

function checkBin(check: FieldChecker, value: JsonValue, field: string, k: number): ResidualBin {
  const bin = check.object(value, field);
  return {
    scaleDtype: check.oneOf(bin.scale_dtype, `${field}.scale_dtype`, DTYPES),
    bits: check.count(bin.element_bits, `${field}.element_bits`, 1, 64),
    count: check.count(bin.num_elements, `${field}.num_elements`, 1, k),
  };
}

/** Bytes that the values of a label take; every bin is filled up to whole bytes. */
export function valueBytes({
  exactK,
  exactDtype,
  terms,
  termDtype,
  bins,
}: DistillKitConfig): number {
  return bins.reduce(
    (sum, { scaleDtype, bits, count }) =>
      sum + TERM_BYTES[scaleDtype] + Math.ceil((bits * count) / 8),
    exactK * TERM_BYTES[exactDtype] + terms.length * TERM_BYTES[termDtype],
  );
}

/** Bits of an id: its own ceil(log2 d), which DistillKit takes in float32. */
export function idBits({ d }: Pick<DistillKitConfig, 'd'>): number {
  return Math.ceil(Math.fround(Math.log2(d)));
}
