import type { LabelSource } from '../labels/source.js';

/** A source as a plain object, so that a part of it can be another. */
export function boundSource(source: LabelSource): LabelSource {
  const { epochs, samples, classes, dtype } = source;
  const close = () => source.close();
  return {
    ...{ epochs, samples, classes, dtype, close, [Symbol.asyncDispose]: close },
    read: (epoch, start, count) => source.read(epoch, start, count),
    ...(source.readEach && { readEach: (places) => source.readEach?.(places) ?? Promise.reject() }),
    ...(source.labelsOf && { labelsOf: source.labelsOf }),
  };
}
