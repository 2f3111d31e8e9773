import { join } from 'node:path';
import type { Rendering } from '../../augment/replay.js';
import { PIL_RENDERING } from '../../augment/spec.js';
import { argument, FieldChecker } from '../../core/check.js';
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from '../../core/json.js';
import { errorCode, invalidFile } from '../../errors.js';
import { RESAMPLES, ROUNDS } from '../../kernels/augment-args.js';
import { readLocalFile } from '../../store/local.js';

/** Order of an image's axes: height, width, channel (TensorFlow) or channel, height, width (PyTorch). */
export type Layout = 'nhwc' | 'nchw';

/** Kind of a network's outputs; probabilities p become logits log p. */
export type TeacherOutput = 'logits' | 'probabilities';

/**
 * Order of the colours: as in files, or blue first (Caffe, and networks converted from it). `grey` is one channel
 * of brightness, 0.299 R + 0.587 G + 0.114 B, as PIL converts images to `L`.
 */
export type Channels = 'rgb' | 'bgr' | 'grey';

/**
 * Preprocessings in common use, by the names that Keras gives them:
 *
 * - `torch`: ImageNet's mean and deviation, and views resized by antialiasing in 8 bits, as in torchvision,
 * - `tf`: pixels from -1 to 1,
 * - `caffe`: pixels from 0 to 255 less ImageNet's mean, blue first,
 * - `unit`: pixels from 0 to 1,
 * - `raw`: pixels from 0 to 255, for networks that rescale them themselves.
 */
export const PRESETS = {
  torch: {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    channels: 'rgb',
    ...PIL_RENDERING,
  },
  tf: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], channels: 'rgb' },
  caffe: {
    mean: [123.68 / 255, 116.779 / 255, 103.939 / 255],
    std: [1 / 255, 1 / 255, 1 / 255],
    channels: 'bgr',
  },
  unit: { mean: [0, 0, 0], std: [1, 1, 1], channels: 'rgb' },
  raw: { mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255], channels: 'rgb' },
} as const;

export type Preprocessing = keyof typeof PRESETS;
export const PREPROCESSINGS = Object.keys(PRESETS) as readonly Preprocessing[];

/**
 * Facts that a model's files leave open, or must agree with. Given as an option, or as `teacher.json` in the model's
 * folder with the same fields; an option overrides the file.
 */
export interface TeacherDescription extends Rendering {
  /** Sets `mean`, `std` and `channels`; `torch` also the defaults of `resample` and `round`. */
  readonly preprocessing?: Preprocessing;
  /** Normalisation of pixels in [0, 1], red green blue: the network sees (pixel - mean) / std. One number applies to all three. */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** Order in which the network takes them; default `rgb`, or `grey` if it has one channel. */
  readonly channels?: Channels;
  /** Needed only if the input's shape fits both. */
  readonly layout?: Layout;
  /** Default `logits`. */
  readonly output?: TeacherOutput;
  /** The output to take if the network has several. */
  readonly outputName?: string;
  /** Height and width; needed only if the model leaves them open. */
  readonly size?: readonly [number, number];
  /** Needed only if the model leaves it open. */
  readonly classes?: number;
  /** One per class, in the order of the logits. */
  readonly classNames?: readonly string[];
}

export const DESCRIPTION_FILE = 'teacher.json';
/** Names of 100,000 classes take 2 MB. */
const MAX_DESCRIPTION_BYTES = 64 * 2 ** 20;
/** Metadata entry of softpack's own model files: JSON of the `Normalisation` that their pixels need. */
export const NORMALISATION_KEY = 'normalisation';

/** The given options, completed by `teacher.json` in the folder if there is one. */
export async function readDescription(
  folder: string,
  given: TeacherDescription = {},
): Promise<TeacherDescription> {
  const options = checkDescription(
    new FieldChecker('description', 'INVALID_ARGUMENT'),
    argument.object(given, 'description'),
  );
  const path = join(folder, DESCRIPTION_FILE);
  const bytes = await readLocalFile(path, MAX_DESCRIPTION_BYTES).catch((error: unknown) => {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  });
  if (bytes === undefined) return options;
  const json = parseJson(path, 'content', bytes);
  if (!isJsonObject(json)) throw invalidFile(path, 'content', 'not an object', { found: json });
  return { ...checkDescription(new FieldChecker(path, 'INVALID_FILE'), json), ...options };
}

const FIELDS = [
  ...['preprocessing', 'mean', 'std', 'channels', 'layout', 'output', 'outputName'],
  ...['size', 'classes', 'classNames', 'resample', 'round'],
];

function checkDescription(check: FieldChecker, json: JsonObject): TeacherDescription {
  const unknown = Object.keys(json).find((key) => !FIELDS.includes(key));
  check.that(unknown === undefined, unknown, 'field', `one of ${FIELDS.join(', ')}`);
  const given = <T>(name: string, read: (value: JsonValue, name: string) => T) =>
    json[name] === undefined ? {} : { [name]: read(json[name], name) };
  const oneOf =
    (...names: string[]) =>
    (value: JsonValue, field: string) =>
      check.that(names.includes(String(value)), value, field, names.join(' or '));
  const numbers = (value: JsonValue, field: string) => {
    const list = Array.isArray(value) ? value : [];
    const valid = (list.length === 3 || list.length === 1) && list.every(Number.isFinite);
    check.that(valid && (field !== 'std' || !list.includes(0)), value, field, 'three numbers');
    return list.length === 1 ? [list[0], list[0], list[0]] : value;
  };
  const preset = json.preprocessing;
  if (preset !== undefined) {
    oneOf(...PREPROCESSINGS)(preset, 'preprocessing');
    const twice = ['mean', 'std', 'channels'].find((name) => json[name] !== undefined);
    check.that(twice === undefined, twice, 'preprocessing', 'no mean, std or channels next to it');
  }
  return {
    ...(preset === undefined ? {} : PRESETS[preset as Preprocessing]),
    ...given('mean', numbers),
    ...given('std', numbers),
    ...given('channels', oneOf('rgb', 'bgr', 'grey')),
    ...given('resample', oneOf(...RESAMPLES)),
    ...given('round', oneOf(...ROUNDS)),
    ...given('layout', oneOf('nhwc', 'nchw')),
    ...given('output', oneOf('logits', 'probabilities')),
    ...given('outputName', (value, field) => check.text(value, field)),
    ...given('size', (value, field) => {
      const axes = check.list(value, field).map((item) => check.count(item, field, 1));
      return check.that(axes.length === 2, axes, field, '[height, width]');
    }),
    ...given('classes', (value, field) => check.count(value, field, 1)),
    ...given('classNames', (value, field) => check.texts(value, field)),
  };
}
