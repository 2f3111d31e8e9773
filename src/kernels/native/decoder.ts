import { DTYPES } from '../../core/dtypes.js';
import { HEADS, LOSSES, METHODS, PRECISIONS, STATUSES } from '../abi.js';
import type {
  NativeDecodeArgs,
  NativeDecodeKlArgs,
  NativeDecoder,
  NativeLabels,
} from '../addon.js';
import {
  type CheckedDecode,
  type CheckedDecodeKl,
  type CheckedLabels,
  checkDecode,
  checkDecodeKl,
  checkLent,
} from '../check/labels.js';
import { present } from '../check/sizes.js';
import { checkCodes, checkValues } from '../reference/decode.js';
import type {
  DecodeArgs,
  DecodeKlArgs,
  DecodeMethod,
  Decoder,
  DecoderSpec,
  LentCall,
  LentRun,
} from '../types.js';
import { created, type NativeBackend, nativeFailure } from './backend.js';
import { NativeResidentCodes } from './resident-codes.js';

/** SOFTPACK_NOT_RUN of native/core/label_calls.h. */
const NOT_RUN = -1;

export class NativeDecoderHandle implements Decoder {
  readonly spec: DecoderSpec;
  readonly method: DecodeMethod;
  readonly #backend: NativeBackend;
  #native: NativeDecoder | undefined;

  constructor(backend: NativeBackend, spec: DecoderSpec) {
    this.spec = spec;
    this.#backend = backend;
    this.#native = createNativeDecoder(backend, spec);
    this.method = methodNamed(this.#native.method());
  }

  decode(args: DecodeArgs): void {
    const native = present('decoder', this.#native);
    const checked = checkDecode(this.spec, args);
    this.#end('decode', native.decode(...decodeArgs(this.#backend, checked)), checked);
  }

  async decodeAsync(args: DecodeArgs): Promise<void> {
    const native = present('decoder', this.#native);
    const checked = checkDecode(this.spec, args);
    this.#end('decode', await native.decodeAsync(...decodeArgs(this.#backend, checked)), checked);
  }

  decodeKl(args: DecodeKlArgs): void {
    const native = present('decoder', this.#native);
    const checked = checkDecodeKl(this.spec, args);
    this.#end('decodeKl', native.decodeKl(...decodeKlArgs(this.#backend, checked)), checked);
  }

  async decodeKlAsync(args: DecodeKlArgs): Promise<void> {
    const native = present('decoder', this.#native);
    const checked = checkDecodeKl(this.spec, args);
    this.#end(
      'decodeKl',
      await native.decodeKlAsync(...decodeKlArgs(this.#backend, checked)),
      checked,
    );
  }

  lend<T>(args: LentCall, run: LentRun<T>): T {
    const native = present('decoder', this.#native);
    const checked = checkLent(this.spec, args);
    const { tau, scale, threads } = checked;
    const call = native.lend(...labelsArgs(this.#backend, checked), tau, scale, threads);
    const end = () => {
      const status = native.withdraw(call);
      if (status !== NOT_RUN) this.#end('decode', status, checked);
    };
    let result: T;
    try {
      result = run(call, this.#backend.name);
    } catch (error) {
      // The operation says no more than that the call failed.
      end();
      throw error;
    }
    end();
    return result;
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #end(operation: string, status: number, checked: CheckedLabels): void {
    if (status === STATUSES.ok) return;
    // The status tells that a label is wrong; only looking again tells which.
    if (status === STATUSES.invalidCodes) checkCodes(this.spec, checked);
    if (status === STATUSES.notFinite) checkValues(this.spec, checked);
    throw nativeFailure(this.#backend, operation, status);
  }
}

function methodNamed(number: number): DecodeMethod {
  const names = Object.keys(METHODS) as readonly (keyof typeof METHODS)[];
  return names.find((name) => METHODS[name] === number) as DecodeMethod;
}

function createNativeDecoder(backend: NativeBackend, spec: DecoderSpec): NativeDecoder {
  const { head } = spec;
  const parameter = head.kind === 'clamp' ? head.eps : head.kind === 'softmax' ? head.tau : 0;
  return created(backend, 'createDecoder', () => {
    return new backend.operations.Decoder(
      spec.codebooks,
      spec.basis,
      spec.bias ?? null,
      spec.classes,
      spec.latent,
      spec.stages,
      spec.levels,
      spec.width,
      spec.codebookStride,
      spec.latentStep,
      spec.bits,
      HEADS[head.kind],
      parameter,
      METHODS[spec.method ?? 'auto'],
      PRECISIONS[spec.precision ?? 'exact'],
      spec.bases ?? null,
      spec.memoryCap ?? 0,
    );
  });
}

function labelsArgs(
  backend: NativeBackend,
  { codes, resident, list, start, count, prediction }: CheckedLabels,
): NativeLabels {
  return [
    (resident instanceof NativeResidentCodes && resident.of(backend)) || codes,
    list ?? null,
    start,
    count,
    prediction?.pairs ?? null,
    prediction?.weights ?? null,
  ];
}

function decodeArgs(backend: NativeBackend, checked: CheckedDecode): NativeDecodeArgs {
  const { out, dtype, threads } = checked;
  return [...labelsArgs(backend, checked), out, DTYPES[dtype].abi, threads];
}

function decodeKlArgs(backend: NativeBackend, checked: CheckedDecodeKl): NativeDecodeKlArgs {
  const { logits, losses, gradient, tau, scale, loss, threads } = checked;
  const outputs = [losses ?? null, gradient ?? null] as const;
  return [...labelsArgs(backend, checked), logits, ...outputs, tau, scale, LOSSES[loss], threads];
}
