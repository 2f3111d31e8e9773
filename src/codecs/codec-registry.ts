import { MEMORY } from '../core/allocate.js';
import { type FieldChecker, type Problem, problemsOf } from '../core/check.js';
import { type CodecParts, type CodecShape, tensorBytes } from '../core/codec-parts.js';
import { isSoftpackError, SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import type { Codec, DecodeOptions } from './codec.js';
import type {
  AnyChoice,
  ByteRequest,
  CheckContext,
  CodecDescriptor,
  CodecTraining,
  LabelCounts,
  NamedChoice,
  RatioChoice,
  SizeContext,
  TrainedCodec,
} from './descriptor.js';

export type ChoiceOf<D> = D extends CodecDescriptor<infer _, infer Choice> ? Choice : never;
export type SizedOf<D> = D extends CodecDescriptor<infer Sized, infer _> ? Sized : never;

/** The codecs that a program knows, by name. The first is the default. */
export class CodecRegistry<
  Choice extends AnyChoice = AnyChoice,
  Sized extends NamedChoice = NamedChoice,
> {
  readonly descriptors: readonly CodecDescriptor[];

  private constructor(descriptors: readonly CodecDescriptor[]) {
    this.descriptors = descriptors;
  }

  static of<D extends readonly CodecDescriptor[]>(
    ...descriptors: D
  ): CodecRegistry<ChoiceOf<D[number]>, SizedOf<D[number]>> {
    return new CodecRegistry<ChoiceOf<D[number]>, SizedOf<D[number]>>(descriptors);
  }

  /** This registry with one more codec. */
  with<D extends CodecDescriptor>(
    more: D,
  ): CodecRegistry<Choice | ChoiceOf<D>, Sized | SizedOf<D>> {
    const all = [...this.descriptors, more];
    return new CodecRegistry<Choice | ChoiceOf<D>, Sized | SizedOf<D>>(all);
  }

  get names(): readonly string[] {
    return this.descriptors.map(({ name }) => name);
  }

  /** `INVALID_ARGUMENT` if a caller's choice names no codec. */
  of({ name }: AnyChoice): CodecDescriptor {
    const found = this.find(name ?? this.descriptors[0].name);
    if (found !== undefined) return found;
    throw this.#unknown('INVALID_ARGUMENT', name);
  }

  find(name: string): CodecDescriptor | undefined {
    return this.descriptors.find((descriptor) => descriptor.name === name);
  }

  /** Fills in the parameters of a choice. `INVALID_ARGUMENT` if none reach the ratio asked for. */
  sized(choice: Choice, context: SizeContext): Sized {
    const given = Object.entries(choice).filter(([, value]) => value !== undefined);
    const known = Object.fromEntries(given) as AnyChoice & Partial<RatioChoice>;
    const descriptor = this.of(known);
    if (known.ratio !== undefined && descriptor.parameters.every(({ kind }) => kind === 'form')) {
      throw noSize(descriptor.name, 'ratio');
    }
    return descriptor.sized(known, context) as Sized;
  }

  /** Every reason why a choice cannot be made for these labels; empty if it can. */
  problemsOf(choice: Choice, context: CheckContext): readonly Problem[] {
    try {
      const descriptor = this.of(choice);
      const sized = this.sized(choice, context);
      const check = (checker: FieldChecker) => descriptor.check(sized, context, checker);
      const problems = problemsOf('', `not a valid ${descriptor.name} codec`, check);
      return problems.length > 0 ? problems : resourceProblems(descriptor, sized, context);
    } catch (error) {
      if (!isSoftpackError(error)) throw error;
      const { code, field = 'codec', message, expected, found } = error;
      return [{ code, field, message, expected, found, error }];
    }
  }

  /** Bits per label and stored tensors of a codec before it is trained. */
  shape(choice: Sized, labels: Pick<LabelCounts, 'classes' | 'samples'>): CodecShape {
    return this.of(choice).shape(choice, labels);
  }

  /** The largest size of a codec within a budget of bytes, if there is any. */
  forBytes(name: string, request: ByteRequest<Sized>): Sized | undefined {
    const descriptor = this.of({ name });
    if (descriptor.forBytes === undefined) throw noSize(name, 'codec');
    return descriptor.forBytes(request) as Sized | undefined;
  }

  /** Names of codecs whose size can be chosen. */
  get scalable(): readonly string[] {
    return this.descriptors.flatMap(({ name, forBytes }) => (forBytes === undefined ? [] : [name]));
  }

  /** Makes the codec of a choice, learnt from the labels if it has anything to learn. */
  async train(choice: Choice, context: CodecTraining): Promise<TrainedCodec> {
    return this.of(choice).train(this.sized(choice, context), context);
  }

  /** Rebuilds a codec from what an archive keeps of it. `UNSUPPORTED` for a name this version does not know. */
  load(parts: CodecParts, kernels: Kernels, options: DecodeOptions = {}): Codec {
    const descriptor = this.find(parts.name);
    if (descriptor === undefined) throw this.#unknown('UNSUPPORTED', parts.name);
    return descriptor.load(parts, kernels, options);
  }

  /** A codec in a few words: `vqae (dh 1000, dc 25, k 512)`. */
  words({ name, config }: Pick<CodecParts, 'name' | 'config'>): string {
    const known = this.find(name)?.parameters.map((parameter) => parameter.name);
    const own = Object.entries(config).filter(([key]) => known?.includes(key) ?? true);
    if (own.length === 0) return name;
    return `${name} (${own.map(([key, value]) => `${key} ${value}`).join(', ')})`;
  }

  #unknown(code: 'INVALID_ARGUMENT' | 'UNSUPPORTED', found: unknown): SoftpackError {
    const details = { field: 'codec', expected: this.names.join(', '), found };
    return new SoftpackError(code, 'unknown codec', details);
  }
}

/** Smaller codecs never mind. */
const LARGE_CODEC = 64 * 2 ** 20;

/** Too few labels, a codec larger than its labels, training that does not fit into memory. */
function resourceProblems(
  descriptor: CodecDescriptor,
  choice: NamedChoice,
  context: CheckContext,
): readonly Problem[] {
  const { name } = descriptor;
  const { classes, labels, trainingLabels = labels, memory = MEMORY } = context;
  const problems: Problem[] = [];
  const needed = descriptor.labelsNeeded?.(choice) ?? 1;
  const seen = Math.min(labels, trainingLabels);
  if (seen < needed) {
    const message = `too few labels to train this ${name} codec`;
    const expected = `at least ${needed}`;
    problems.push({ code: 'TOO_FEW_LABELS', field: 'labels', message, expected, found: seen });
  }
  const { tensors, sampleTensors } = descriptor.shape(choice, context);
  const own = tensorBytes(tensors) + tensorBytes(sampleTensors);
  const full = 2 * classes * labels;
  if (own > Math.max(full, LARGE_CODEC)) {
    problems.push({
      field: 'codec',
      message: `the tensors of this ${name} codec are larger than all labels as float16`,
      expected: `at most ${gigabytes(full)}: smaller parameters, or another codec`,
      found: gigabytes(own),
    });
  }
  const training = descriptor.trainingBytes?.(choice, context) ?? 0;
  if (training > memory) {
    problems.push({
      field: 'codec',
      message: `training this ${name} codec takes more memory than there is`,
      expected: `at most ${gigabytes(memory)}: smaller parameters, or another codec`,
      found: gigabytes(training),
    });
  }
  return problems;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toPrecision(3)} GB`;
}

function noSize(found: string, field: string): SoftpackError {
  const details = { field, expected: 'a codec whose size can be chosen', found };
  return new SoftpackError('INVALID_ARGUMENT', 'this codec has no size to choose', details);
}
