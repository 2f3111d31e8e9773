import { join } from 'node:path';
import type { Normalisation, Rendering } from '../../augment/replay.js';
import { PIL_RENDERING, renderingOf } from '../../augment/spec.js';
import { FieldChecker } from '../../core/check.js';
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from '../../core/json.js';
import { errorCode, excerpt, invalidFile, SoftpackError } from '../../errors.js';
import { RESAMPLES, ROUNDS } from '../../kernels/augment-args.js';
import { readLocalFile } from '../../store/local.js';

/** Order of an image's axes: height, width, channel (TensorFlow) or channel, height, width (PyTorch). */
export type Layout = 'nhwc' | 'nchw';

/** What the numbers that a network puts out are; probabilities p become logits log p. */
export type TeacherOutput = 'logits' | 'probabilities';

/**
 * Order of the colours: as files have them, or blue first (Caffe, and what was converted from it). `grey` is one channel
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
const PRESETS = {
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
const PREPROCESSINGS = Object.keys(PRESETS) as readonly Preprocessing[];

/**
 * What a model's files do not say, or what they must say. Given as an option, or as `teacher.json` in the model's
 * folder with the same fields; an option goes before the file.
 */
export interface TeacherDescription extends Rendering {
  /** Stands for `mean`, `std` and `channels`; `torch` for `resample` and `round` as well, which may differ from it. */
  readonly preprocessing?: Preprocessing;
  /** Normalisation of pixels in [0, 1], red green blue: the network sees (pixel - mean) / std. One number stands for all three. */
  readonly mean?: readonly [number, number, number] | readonly [number];
  readonly std?: readonly [number, number, number] | readonly [number];
  /** Order in which the network takes them; default `rgb`, or `grey` if it has one channel. */
  readonly channels?: Channels;
  /** Needed only where the input's shape fits both. */
  readonly layout?: Layout;
  /** Default `logits`. */
  readonly output?: TeacherOutput;
  /** The output to take if the network has several. */
  readonly outputName?: string;
  /** Height and width; needed only where the model leaves them open. */
  readonly size?: readonly [number, number];
  /** Needed only where the model leaves it open. */
  readonly classes?: number;
  /** One a class, in the order of the logits. */
  readonly classNames?: readonly string[];
}

/** What a model says of itself; `undefined` where it leaves that open. */
export interface ModelFacts {
  /** Shape of the input, -1 for axes of any length. */
  readonly input: readonly number[];
  /** Shape of the output, likewise. */
  readonly output: readonly number[];
  /** Where the input's shape fits both. */
  readonly layout: Layout;
  /** Whether the network takes whole numbers from 0 to 255. */
  readonly pixels?: boolean;
}

/** Everything a teacher needs besides its network. */
export interface TeacherShape {
  readonly size: readonly [number, number];
  readonly classes: number;
  readonly classNames?: readonly string[];
  readonly normalisation: Normalisation;
  /** How the images that the network was trained on were resized. */
  readonly rendering?: Rendering;
  readonly channels: Channels;
  readonly layout: Layout;
  /** Images that the network takes at a time, where that is fixed. */
  readonly batch?: number;
  readonly output: TeacherOutput;
}

export const DESCRIPTION_FILE = 'teacher.json';
/** Names of 100,000 classes take 2 MB. */
const MAX_DESCRIPTION_BYTES = 64 * 2 ** 20;
/** Metadata entry of softpack's own model files: JSON of the {@link Normalisation} that their pixels need. */
export const NORMALISATION_KEY = 'normalisation';

/** The options given, completed by `teacher.json` in the folder where there is one. */
export async function readDescription(
  folder: string,
  given: TeacherDescription = {},
): Promise<TeacherDescription> {
  const options = checkDescription(
    new FieldChecker('description', 'INVALID_ARGUMENT'),
    given as JsonObject,
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
    check.that(twice === undefined, twice, 'preprocessing', 'no mean, std or channels beside it');
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

/** Holds the model against its description; `INVALID_ARGUMENT` naming the field in which they differ. */
export function settleShape(
  path: string,
  facts: ModelFacts,
  description: TeacherDescription,
): TeacherShape {
  const layout = settleLayout(path, facts, description.layout);
  const axes = layout === 'nhwc' ? facts.input.slice(1, 3) : facts.input.slice(2, 4);
  const size = ['height', 'width'].map((name, i) =>
    settle(path, `size (${name})`, axes[i], description.size?.[i]),
  );
  const classes = settle(path, 'classes', classesAxis(path, facts.output), description.classes);
  const pixels = facts.pixels ? PRESETS.raw : undefined;
  const { mean = pixels?.mean, std = pixels?.std, output = 'logits', classNames } = description;
  if (mean === undefined || std === undefined) {
    const field = mean === undefined ? 'mean' : 'std';
    const names = PREPROCESSINGS.join(' or ');
    const expected = `"${field}": [r, g, b] or "preprocessing": ${names} in ${DESCRIPTION_FILE}`;
    throw mismatch(path, field, expected, 'nothing');
  }
  const normalisation = { mean: three(mean), std: three(std) };
  if (pixels !== undefined && String(pixels.std) + pixels.mean !== String(std) + mean) {
    throw mismatch(path, 'mean', '"preprocessing": "raw": the network takes pixels', { mean, std });
  }
  const channels = settleChannels(path, facts, layout, description.channels, normalisation);
  const [batch] = facts.input;
  requireNames(path, classes, classNames);
  return {
    ...{
      size: [size[0], size[1]],
      classes,
      layout,
      channels,
      output,
      normalisation,
      rendering: renderingOf(description),
    },
    ...(batch > 0 ? { batch } : {}),
    ...(classNames === undefined ? {} : { classNames }),
  };
}

/** `INVALID_ARGUMENT` unless there are as many names as classes. */
export function requireNames(
  path: string,
  classes: number,
  names: readonly string[] | undefined,
): void {
  if (names === undefined || names.length === classes) return;
  throw mismatch(path, 'classNames', `${classes} names`, names.length);
}

/** The model's own value where it has one, which the description must not contradict. */
function settle(
  path: string,
  field: string,
  own: number | undefined,
  described: number | undefined,
): number {
  const fixed = own !== undefined && own > 0 ? own : undefined;
  const value = fixed ?? described;
  if (value === undefined) {
    throw mismatch(path, field, `a value in ${DESCRIPTION_FILE}: the model has none`, 'nothing');
  }
  if (described !== undefined && described !== value) throw mismatch(path, field, value, described);
  return value;
}

function settleLayout(path: string, facts: ModelFacts, described: Layout | undefined): Layout {
  const { input } = facts;
  if (input.length !== 4) {
    throw mismatch(path, 'input', 'four axes of images', shapeText(input), 'UNSUPPORTED');
  }
  const having = (channels: number) => ({
    nhwc: input[3] === channels || input[3] <= 0,
    nchw: input[1] === channels || input[1] <= 0,
  });
  const fits = [3, 1].map(having).find(({ nhwc, nchw }) => nhwc || nchw);
  if (fits === undefined) {
    throw mismatch(path, 'input', 'three channels or one', shapeText(input), 'UNSUPPORTED');
  }
  const own = fits[facts.layout] ? facts.layout : facts.layout === 'nhwc' ? 'nchw' : 'nhwc';
  if (described === undefined || fits[described]) return described ?? own;
  throw mismatch(path, 'layout', `${own}: the input is ${shapeText(input)}`, described);
}

/** The length of the only axis after the first that is not 1, e.g. of [batch, classes, 1, 1]; -1 if it is open. */
function classesAxis(path: string, shape: readonly number[]): number {
  const [, ...axes] = shape;
  const long = axes.filter((length) => length > 1);
  if (axes.length === 0 || long.length > 1) {
    throw mismatch(path, 'output', '[batch, classes]', shapeText(shape), 'UNSUPPORTED');
  }
  return long[0] ?? axes.find((length) => length <= 0) ?? 1;
}

function settleChannels(
  path: string,
  { input }: ModelFacts,
  layout: Layout,
  described: Channels | undefined,
  { mean, std }: Normalisation,
): Channels {
  const own = layout === 'nhwc' ? input[3] : input[1];
  const count = own > 0 ? own : described === 'grey' ? 1 : 3;
  if (count === 3) {
    if (described === 'grey') throw mismatch(path, 'channels', 'rgb or bgr', described);
    return described ?? 'rgb';
  }
  if (described === 'bgr') throw mismatch(path, 'channels', 'grey', described);
  for (const [field, values] of Object.entries({ mean, std })) {
    if (values.some((value) => value !== values[0])) {
      throw mismatch(path, field, 'one number: the network has one channel', values);
    }
  }
  return 'grey';
}

function three(values: readonly number[]): [number, number, number] {
  const [red, green = red, blue = red] = values;
  return [red, green, blue];
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.map((n) => (n > 0 ? n : 'any')).join(', ')}]`;
}

/** Position of the output that the description names; the only one needs no name. */
export function chosenOutput(
  path: string,
  names: readonly string[],
  described: string | undefined,
): number {
  const at = described === undefined && names.length === 1 ? 0 : names.indexOf(described ?? '');
  if (at >= 0 && (described === undefined || names[at] === described)) return at;
  const expected = `one of ${names.join(', ')} in ${DESCRIPTION_FILE}`;
  throw mismatch(path, 'outputName', expected, described ?? 'nothing');
}

export function mismatch(
  path: string,
  field: string,
  expected: unknown,
  found: unknown,
  code: 'INVALID_ARGUMENT' | 'UNSUPPORTED' = 'INVALID_ARGUMENT',
): SoftpackError {
  return new SoftpackError(code, 'the teacher cannot be used like this', {
    field: `${path}: ${field}`,
    expected: excerpt(expected),
    found: excerpt(found),
  });
}
