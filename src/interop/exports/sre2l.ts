import { type NewTensor, type NewValue, torchFileOf } from '../../container/torch/write.js';
import { throwIfAborted } from '../../errors.js';
import type { DrawsPerEpoch } from '../random-sampler.js';
import { torchOrders } from '../random-sampler.js';
import type { NewFolder } from './folder.js';
import type { LabelRows } from './label-rows.js';
import { type EpochViews, type ExportedViews, unsupported } from './views.js';

export interface Sre2lExport {
  readonly samples: number;
  readonly classes: number;
  readonly epochs: number;
  readonly batch: number;
  readonly orderSeed: number;
  readonly drawsPerEpoch: DrawsPerEpoch;
  readonly rows: LabelRows;
  readonly views: ExportedViews;
  readonly onEpoch: (done: number) => void;
  readonly signal?: AbortSignal;
}

/** `epoch_{e}/batch_{b}.tar` in the order of torch's sampler: coords, flip, mix_index, mix_lam, mix_bbox, logits. */
export async function writeSre2l(folder: NewFolder, options: Sre2lExport): Promise<void> {
  const { samples, classes, epochs, batch, rows, views, signal } = options;
  if (views.spec.generator !== 'recorded' && views.mix !== 'none') {
    throw unsupported(
      'augmentation.mix',
      'SRe2L mixes a batch with itself by one box or weight',
      'views without mixing, or recorded batch by batch',
      `${views.mix} with a partner among all samples`,
    );
  }
  const orders = torchOrders(samples, options.orderSeed, options.drawsPerEpoch);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = orders.next().value;
    const logits = await rows.logits(epoch);
    const epochViews = await views.epoch(epoch);
    for (let b = 0; b * batch < samples; b++) {
      throwIfAborted(signal);
      const name = `epoch_${epoch}/batch_${b}.tar`;
      const ids = order.subarray(b * batch, (b + 1) * batch);
      const labels = new Uint16Array(ids.length * classes);
      for (const [i, id] of ids.entries()) {
        labels.set(logits.subarray(id * classes, (id + 1) * classes), i * classes);
      }
      const content: readonly NewValue[] = [
        ...viewTensors(epochViews, ids),
        ...mixOf(views, epochViews, ids, name),
        tensor('F16', [ids.length, classes], labels),
      ];
      await folder.write(name, torchFileOf(content));
    }
    options.onEpoch(epoch + 1);
  }
}

/** coords float32 [labels, 4] and flip [labels]. */
function viewTensors(views: EpochViews, ids: Uint32Array): readonly NewTensor[] {
  const coords = new Float32Array(4 * ids.length);
  const flips = new Uint8Array(ids.length);
  for (const [i, id] of ids.entries()) {
    const { crop, flip } = views.view(id);
    coords.set(crop, 4 * i);
    flips[i] = flip ? 1 : 0;
  }
  return [tensor('F32', [ids.length, 4], coords), tensor('BOOL', [ids.length], flips)];
}

export function tensor(
  dtype: NewTensor['dtype'],
  shape: readonly number[],
  data: ArrayBufferView,
): NewTensor {
  return { dtype, shape, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

/** mix_index, mix_lam and mix_bbox: one box or weight for the batch, partners by position. */
function mixOf(
  { mix: kind, size }: ExportedViews,
  views: EpochViews,
  ids: Uint32Array,
  name: string,
): readonly NewValue[] {
  if (kind === 'none') return [null, null, null];
  const mixes = Array.from(ids, (id) => views.mix(id));
  const [{ box, weight }] = mixes;
  const other = mixes.findIndex((mix) => String(mix.box) !== String(box) || mix.weight !== weight);
  if (other >= 0) {
    const found = `another for sample ${ids[other]}`;
    throw unsupported(name, 'labels of a batch are mixed differently', 'one box or weight', found);
  }
  const positions = new Map(Array.from(ids, (id, i) => [id, i]));
  const partners = BigInt64Array.from(mixes, ({ partner }, i) => {
    const position = positions.get(partner);
    if (position !== undefined) return BigInt(position);
    throw unsupported(
      name,
      'partner is not in the batch',
      'batches and order of the labels that were imported',
      `sample ${ids[i]} is mixed with sample ${partner}`,
    );
  });
  const index = tensor('I64', [ids.length], partners);
  if (kind === 'mixup' || weight < 1) return [index, { float: weight }, null];
  const [top, left, height, width] = box;
  const lambda = 1 - (height * width) / (size[0] * size[1]);
  return [index, { float: lambda }, [top, left, top + height, left + width]];
}
