import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import { openImages } from '../images/open.js';
import { openImageReader } from '../images/reader.js';
import { loadTeacher } from '../nn/teachers/load.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { withTfjs } from '../nn/with-tfjs.js';
import { checkedRange } from './candidates.js';
import { classesOf } from './classes.js';
import type { Synthesiser } from './distilled.js';
import { networkOf } from './network-of.js';
import { SYNTHESIS_METHODS, type SynthesisRequest } from './options.js';
import { rdedSynthesiser } from './rded-jobs.js';
import { classFolders } from './tree.js';

/** Images decoded at a time. */
const DECODES = 4;
/** Options that only RDED has, and those of the others alone. */
const RDED_OPTIONS = ['candidates', 'draws', 'crops', 'factor'] as const;
const RECOVER_OPTIONS = [
  ...['iterations', 'lr', 'bnWeight', 'firstBn', 'minCrop', 'curriculum', 'jitter'],
  'statistics',
] as const;

/** A teacher and images, ready to distil. */
export interface OpenedSynthesis extends Disposable {
  readonly teacher: Teacher;
  readonly synthesiser: Synthesiser;
  /** All that the images follow from, as recorded. */
  readonly request: JsonObject;
  /** Folder of each class. */
  readonly folders: ReadonlyMap<number, string>;
}

/** @throws `INVALID_ARGUMENT` for options that have no meaning together, before anything is read. */
export function requireRequest(options: SynthesisRequest): void {
  const { method, format = 'png' } = options;
  argument.oneOf(method, 'method', SYNTHESIS_METHODS);
  requireOptionsOf(options);
  if (format !== 'png') {
    argument.count(argument.object(format, 'format').jpeg, 'format.jpeg', 1, 100);
  }
  if (options.statistics !== undefined) argument.text(options.statistics, 'statistics');
}

/** An option of another method has no effect: whoever gives it expects one. */
function requireOptionsOf(options: SynthesisRequest): void {
  const { method } = options;
  const others: readonly string[] = method === 'rded' ? RECOVER_OPTIONS : RDED_OPTIONS;
  const given = Object.entries(options).find(
    ([name, value]) => value !== undefined && others.includes(name),
  );
  if (given === undefined) return;
  const [field, found] = given;
  throw new SoftpackError('INVALID_ARGUMENT', `${method} has no such option`, {
    field,
    expected: method === 'rded' ? 'method sre2l, cda or lpld' : 'method rded',
    found,
  });
}

/** @throws What `synthesise` throws before any work. */
export async function openSynthesis(options: SynthesisRequest): Promise<OpenedSynthesis> {
  const { method, format = 'png' } = options;
  const held = new Held();
  try {
    const teacher = held.use(await loadTeacher(options.teacher, options));
    const { synthesiser, classNames, range } = await prepare(teacher, options, held);
    const request = {
      ...{ version: 1, method, format, ...synthesiser.settings, classes: range },
      ...{ size: teacher.size, teacher: teacher.fingerprint },
    };
    return {
      ...{ teacher, synthesiser },
      request: canonicalJson(request, 'options') as JsonObject,
      folders: classFolders(classNames, range),
      [Symbol.dispose]: () => held[Symbol.dispose](),
    };
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

/** What a run disposes of at its end; Node.js 20 has no `DisposableStack`. */
class Held implements Disposable {
  readonly #things: Disposable[] = [];

  use<T extends Disposable>(thing: T): T {
    this.#things.push(thing);
    return thing;
  }

  [Symbol.dispose](): void {
    for (const thing of this.#things.reverse()) thing[Symbol.dispose]();
  }
}

async function prepare(teacher: Teacher, options: SynthesisRequest, held: Held) {
  const { method } = options;
  const range = checkedRange(options.classes, teacher.classes);
  if (method !== 'rded') {
    const network = networkOf(options.teacher, teacher);
    const { recoverSynthesiser } = await withTfjs(() => import('./recover-jobs.js'));
    const synthesiser = await recoverSynthesiser({ teacher, network, range }, method, options);
    const images = options.images && (await openImages(options.images, options));
    const { classNames } = images ? classesOf(options.teacher, teacher, images) : teacher;
    return { synthesiser, classNames, range };
  }
  if (options.images === undefined) {
    const details = { field: 'images', expected: 'a folder or list of images with classes' };
    throw new SoftpackError('INVALID_ARGUMENT', 'rded makes images of others', details);
  }
  const images = await openImages(options.images, options);
  const { classNames, targets } = classesOf(options.teacher, teacher, images);
  const synthesiser = await rdedSynthesiser(
    { teacher, images, targets, range },
    options,
    async () => held.use(await openImageReader(images.description, { concurrency: DECODES })),
  );
  return { synthesiser, classNames, range };
}
