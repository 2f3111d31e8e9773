import { SoftpackError } from '../errors.js';
import { STATUSES } from './abi.js';
import { NativeFailure } from './native/backend.js';
import type {
  DecodeKlArgs,
  Decoder,
  DecoderSpec,
  Encoder,
  EncoderSpec,
  Kernels,
  ProjectArgs,
} from './types.js';

/** Failures after which another backend may succeed. */
const PASSING: readonly number[] = [
  STATUSES.deviceLost,
  STATUSES.deviceRefused,
  STATUSES.outOfMemory,
  STATUSES.unsupportedMethod,
];

/**
 * `first` as long as it works, `second` after: what `auto` gives where there is a GPU. A call that fails because the
 * device is lost, refuses it, is out of memory or without a unit is done again by `second`; after a loss everything
 * is. Both give the same bytes (see kernels.ts), so a loss shows in speed and in one process warning only, and so do
 * refused calls. The exception: a call
 * that reads what it writes (`accumulate`, a gradient in place of its logits) cannot be done again and throws.
 */
export function withFallback(first: Kernels, second: () => Kernels): Kernels {
  const state = new Fallback(first, second);
  return {
    get name() {
      return state.current.name;
    },
    get isa() {
      return state.current.isa;
    },
    project: (args) => state.run((kernels) => kernels.project(args), accumulates(args)),
    projectAsync: (args) =>
      state.runLater((kernels) => kernels.projectAsync(args), accumulates(args)),
    nearest: (args) => state.run((kernels) => kernels.nearest(args)),
    nearestAsync: (args) => state.runLater((kernels) => kernels.nearestAsync(args)),
    pack: (args) => state.current.pack(args),
    unpack: (args) => state.current.unpack(args),
    augment: (args) => state.current.augment(args),
    augmentAsync: (args) => state.current.augmentAsync(args),
    encodeRans: (args) => state.current.encodeRans(args),
    decodeRans: (args) => state.current.decodeRans(args),
    centreLogits: (args) => state.current.centreLogits(args),
    quantise: (args) => state.current.quantise(args),
    dequantise: (args) => state.current.dequantise(args),
    createLatentDecoder: (spec) => state.current.createLatentDecoder(spec),
    encodeTokens: (args) => state.current.encodeTokens(args),
    decodeTokens: (args) => state.current.decodeTokens(args),
    listTokens: (args) => state.current.listTokens(args),
    residentCodes: (codes) => state.run((kernels) => kernels.residentCodes(codes)),
    createEncoder: (spec) => new FallbackEncoder(state, spec),
    createDecoder: (spec) => new FallbackDecoder(state, spec),
  };
}

class Fallback {
  readonly first: Kernels;
  readonly #second: () => Kernels;
  #lost = false;
  #refused = false;
  #made: Kernels | undefined;

  constructor(first: Kernels, second: () => Kernels) {
    this.first = first;
    this.#second = second;
  }

  get current(): Kernels {
    return this.#lost ? this.second : this.first;
  }

  get second(): Kernels {
    this.#made ??= this.#second();
    return this.#made;
  }

  run<T>(work: (kernels: Kernels) => T, once = false): T {
    if (this.#lost) return work(this.second);
    try {
      return work(this.first);
    } catch (error) {
      this.pass(error, once);
      return work(this.second);
    }
  }

  async runLater<T>(work: (kernels: Kernels) => Promise<T>, once = false): Promise<T> {
    if (this.#lost) return work(this.second);
    try {
      return await work(this.first);
    } catch (error) {
      this.pass(error, once);
      return work(this.second);
    }
  }

  /** Returns if the second backend may try; throws otherwise. */
  pass(error: unknown, once: boolean): void {
    if (!(error instanceof NativeFailure) || !PASSING.includes(error.status)) throw error;
    if (error.status === STATUSES.deviceRefused && !this.#refused) {
      this.#refused = true;
      process.emitWarning(`calls that the GPU refuses are done on the CPU: ${error.message}`, {
        type: 'SoftpackWarning',
        code: 'SOFTPACK_DEVICE_REFUSED',
      });
    }
    if (error.status === STATUSES.deviceLost && !this.#lost) {
      this.#lost = true;
      process.emitWarning(`continuing without the GPU: ${error.message}`, {
        type: 'SoftpackWarning',
        code: 'SOFTPACK_DEVICE_LOST',
      });
    }
    if (once) throw error;
  }
}

/** An object of the first backend and, once needed, one of the second. Keeps the spec's arrays for that. */
class Handle<T extends Disposable> {
  readonly #state: Fallback;
  readonly #create: (kernels: Kernels) => T;
  #first: T | undefined;
  #second: T | undefined;
  #disposed = false;

  constructor(state: Fallback, create: (kernels: Kernels) => T) {
    this.#state = state;
    this.#create = create;
    state.run((kernels) => this.#of(kernels));
  }

  /** The object in use. */
  get current(): T {
    return this.#first ?? this.#of(this.#state.second);
  }

  run<R>(work: (object: T) => R, once = false): R {
    return this.#state.run((kernels) => work(this.#of(kernels)), once);
  }

  runLater<R>(work: (object: T) => Promise<R>, once = false): Promise<R> {
    return this.#state.runLater(async (kernels) => work(this.#of(kernels)), once);
  }

  dispose(): void {
    this.#disposed = true;
    this.#first?.[Symbol.dispose]();
    this.#second?.[Symbol.dispose]();
  }

  #of(kernels: Kernels): T {
    if (kernels === this.#state.first && this.#second === undefined) {
      this.#first ??= this.#made(kernels);
      return this.#first;
    }
    // Too large for the device once means too large every time.
    this.#second ??= this.#made(this.#state.second);
    return this.#second;
  }

  #made(kernels: Kernels): T {
    if (this.#disposed) {
      throw new SoftpackError('INVALID_ARGUMENT', 'already disposed', { field: 'decoder' });
    }
    return this.#create(kernels);
  }
}

class FallbackEncoder implements Encoder {
  readonly spec: EncoderSpec;
  readonly #handle: Handle<Encoder>;

  constructor(state: Fallback, spec: EncoderSpec) {
    this.spec = spec;
    this.#handle = new Handle(state, (kernels) => kernels.createEncoder(spec));
  }

  encode(args: Parameters<Encoder['encode']>[0]): void {
    this.#handle.run((encoder) => encoder.encode(args));
  }

  encodeAsync(args: Parameters<Encoder['encode']>[0]): Promise<void> {
    return this.#handle.runLater((encoder) => encoder.encodeAsync(args));
  }

  dispose(): void {
    this.#handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

class FallbackDecoder implements Decoder {
  readonly spec: DecoderSpec;
  readonly #handle: Handle<Decoder>;

  constructor(state: Fallback, spec: DecoderSpec) {
    this.spec = spec;
    this.#handle = new Handle(state, (kernels) => kernels.createDecoder(spec));
  }

  get method(): Decoder['method'] {
    return this.#handle.current.method;
  }

  decode(args: Parameters<Decoder['decode']>[0]): void {
    this.#handle.run((decoder) => decoder.decode(args));
  }

  decodeAsync(args: Parameters<Decoder['decode']>[0]): Promise<void> {
    return this.#handle.runLater((decoder) => decoder.decodeAsync(args));
  }

  decodeKl(args: DecodeKlArgs): void {
    this.#handle.run((decoder) => decoder.decodeKl(args), inPlace(args));
  }

  decodeKlAsync(args: DecodeKlArgs): Promise<void> {
    return this.#handle.runLater((decoder) => decoder.decodeKlAsync(args), inPlace(args));
  }

  get lend(): Decoder['lend'] {
    if (this.#handle.current.lend === undefined) return undefined;
    return (args, run) =>
      this.#handle.run((decoder) => {
        if (decoder.lend !== undefined) return decoder.lend(args, run);
        throw new SoftpackError('UNSUPPORTED', 'not a native decoder', { field: 'decoder' });
      });
  }

  dispose(): void {
    this.#handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function accumulates({ accumulate }: ProjectArgs): boolean {
  return accumulate === true;
}

function inPlace({ gradient, logits }: DecodeKlArgs): boolean {
  return gradient !== undefined && gradient.buffer === logits.buffer;
}
