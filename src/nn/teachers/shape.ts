import type { Normalisation, Rendering } from '../../augment/replay.js';
import { renderingOf } from '../../augment/spec.js';
import { excerpt, SoftpackError } from '../../errors.js';
import {
  type Channels,
  DESCRIPTION_FILE,
  type Layout,
  PREPROCESSINGS,
  PRESETS,
  type TeacherDescription,
  type TeacherOutput,
} from './description.js';

/** Facts in a model's own files. */
export interface ModelFacts {
  /** Shape of the input, -1 for axes of any length. */
  readonly input: readonly number[];
  /** Shape of the output, likewise. */
  readonly output: readonly number[];
  /** Layout to assume if the input's shape fits both. */
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
  /** Resizing of the images that the network was trained on. */
  readonly rendering?: Rendering;
  readonly channels: Channels;
  readonly layout: Layout;
  /** Images that the network takes at a time, if that is fixed. */
  readonly batch?: number;
  readonly output: TeacherOutput;
}

/** Compares the model with its description; `INVALID_ARGUMENT` naming the field in which they differ. */
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

/** The model's own value if it has one, which the description must not contradict. */
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
