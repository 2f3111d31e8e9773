import type { CodecShape, ShapedTensor } from '../core/codec-parts.js';
import type { SizedChoice } from './choice.js';
import { topKBits, topKForm } from './top-k.js';
import { vqSegments } from './vq.js';

/** Bits a label and stored tensors of a codec of these parameters. */
export function codecShape(
  choice: SizedChoice,
  { classes, samples }: { readonly classes: number; readonly samples: number },
): CodecShape {
  const { name } = choice;
  const shape = (
    bitsPerLabel: number,
    tensors: readonly ShapedTensor[] = [],
    sampleTensors: readonly ShapedTensor[] = [],
  ) => ({ name, bitsPerLabel, tensors, sampleTensors });
  switch (choice.name) {
    case 'vqae': {
      const { dh, dc, k } = choice;
      return shape((dh / dc) * Math.log2(k), [
        { name: 'decoder', dtype: 'F32', shape: [dh, classes] },
        { name: 'codebook', dtype: 'F32', shape: [k, dc] },
        { name: 'bias', dtype: 'F32', shape: [classes] },
      ]);
    }
    case 'none':
      return shape(16 * classes);
    case 'topk':
      return shape(topKBits({ classes, k: choice.k, ...topKForm(choice) }));
    case 'pca':
    case 'rpca':
      return shape(16 * choice.k, [
        { name: 'components', dtype: 'F16', shape: [choice.k, classes] },
        { name: 'bias', dtype: 'F32', shape: [classes] },
      ]);
    case 'scalar':
      return shape(classes * Math.log2(choice.levels), [
        { name: 'levels', dtype: 'F32', shape: [choice.levels] },
      ]);
    case 'vq':
      return shape(vqSegments({ classes, dc: choice.dc }) * Math.log2(choice.k), [
        { name: 'codebook', dtype: 'F32', shape: [choice.k, choice.dc] },
      ]);
    case 'mean': {
      const groups = choice.groups?.reduce((most, g) => Math.max(most, g + 1), 1) ?? samples;
      return shape(
        0,
        [{ name: 'means', dtype: 'F16', shape: [groups, classes] }],
        [{ name: 'group', dtype: 'U32', shape: [samples] }],
      );
    }
  }
}
