import type { LabelArchive } from '../archive/archive.js';
import type { DecodeOptions, PackedCodes } from '../codecs/codec.js';
import { LossCodecs } from '../codecs/loss-codecs.js';
import { loadKernels } from '../kernels/load.js';
import { withTfjs } from '../nn/with-tfjs.js';

/** Labels that native TensorFlow decodes into its own memory, from a loader's codes. */
export class DeviceLabels implements Disposable {
  readonly #codecs: LossCodecs;

  /** @throws `UNSUPPORTED` for a codec that no kernel decodes. */
  constructor(archive: LabelArchive, decoding: DecodeOptions) {
    this.#codecs = new LossCodecs({
      codec: archive.parts.map(({ codecParts }) => codecParts),
      kernels: loadKernels(),
      decoding,
      instead: "labels: 'probabilities' in the loader",
    });
  }

  /**
   * A tensor [batch, classes] of softpack's own TensorFlow.js.
   *
   * @throws `BACKEND_UNAVAILABLE` unless native TensorFlow with the operations of `softpack tensorflow install` is selected.
   */
  async decode(codes: PackedCodes): Promise<unknown> {
    const { decodeLabels, requireLabelOperations, requireLender } = await withTfjs(
      () => import('../nn/backend/operations.js'),
    );
    requireLabelOperations('device');
    const { row, labels } = codes;
    return decodeLabels(requireLender(this.#codecs.of(codes)), { row, labels });
  }

  [Symbol.dispose](): void {
    this.#codecs[Symbol.dispose]();
  }
}
