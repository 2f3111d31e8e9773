import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import type {
  Batch,
  CodecChoice,
  LabelArchive,
  LabelLoader,
  LabelSource,
  LoaderState,
  PackOptions,
  PackResult,
  SoftpackError,
  SoftpackErrorCode,
  TotalRatioChoice,
} from '#src/index.js';
import {
  type createLoader,
  type memoryLabelSource,
  openArchive,
  type packLogits,
  planLabels,
} from '#src/index.js';
import type { Teacher } from '#src/nn.js';
import { kdLoss } from '#src/nn.js';

/** Compiled by `npm run check`, never run: what users may rely on in the types of the public surface. */

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_ extends true>(): void => {};

// Results
is<Equal<Awaited<ReturnType<typeof packLogits>>, PackResult>>();
is<Equal<Awaited<ReturnType<typeof openArchive>>, LabelArchive>>();
is<Equal<ReturnType<typeof createLoader>, LabelLoader>>();
is<Equal<ReturnType<typeof memoryLabelSource>, LabelSource>>();
is<Equal<PackResult['ratio'], { readonly codes: number; readonly total: number }>>();
is<Equal<ReturnType<LabelLoader['state']>, LoaderState>>();
is<Equal<SoftpackError['code'], SoftpackErrorCode>>();

// Sizes of a codec: parameters or a ratio, never both halves of one
const choices: readonly (CodecChoice | TotalRatioChoice)[] = [
  { ratio: 40 },
  { dh: 1000, dc: 25, k: 512 },
  { name: 'topk', k: 5, values: 'logits', rest: 'zero' },
  { name: 'pca', ratio: 10 },
  { name: 'none' },
  { totalRatio: 40 },
  { name: 'topk', totalRatio: 40, values: 'none' },
];
export const options: PackOptions = { source: 'a.npy', out: 'b', codec: choices[0] };
// @ts-expect-error no such codec
export const unknown: CodecChoice = { name: 'zip', ratio: 3 };
// @ts-expect-error half of a shape
export const half: CodecChoice = { dh: 1000 };
// @ts-expect-error a plan has a ratio or a number of bytes
export const plan = () => planLabels({ classes: 1, ipc: 1, epochs: 1, imageBytes: 1, batch: 1 });
// @ts-expect-error internal: which codecs there are is not for callers to say
export const registry = (archive: LabelArchive) => openArchive('a', { codecs: archive });

// A loader is iterated as it is, and its batches have labels
export async function iterates(loader: LabelLoader): Promise<void> {
  for await (const batch of loader) {
    is<Equal<typeof batch, Batch>>();
    const { epoch, sampleIds } = batch;
    is<Equal<typeof epoch, number>>();
    is<Equal<typeof sampleIds, Uint32Array>>();
  }
}

// Networks
export const loss: (...args: Parameters<typeof kdLoss>) => TfTensor = kdLoss;
export const disposable = (teacher: Teacher): Disposable => teacher;
