import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import { renderWhole } from '#src/augment/replay.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { type MemoryImages, memoryImages } from '#src/images/memory.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { holdTo, normTerm, release } from '#src/synthesis/losses.js';
import { SYNTHESIS_METHODS, type SynthesisMethod } from '#src/synthesis/options.js';
import { distil, wholeTerms } from '../demo/distilled.js';
import { emojiSamples } from '../demo/emoji.js';
import { IMAGE_SIZE, NORMALISATION } from '../demo/recipe.js';
import { TEACHER_FILE } from '../demo/teacher.js';
import { imagesOf, type LabelSet, type Setting } from './labels.js';
import { known } from './measure.js';
import { type MethodName, methodAt } from './methods.js';
import { student } from './student.js';
import { Workspace } from './workspace.js';

/** Images that labels are made for: distilled ones, a designer's, of random designers, or none at all. */
export type ImageSetName =
  | SynthesisMethod
  | 'google'
  | 'openmoji'
  | 'fluent'
  | 'random real'
  | 'noise';

export interface SynthesisRow {
  readonly images: ImageSetName;
  /** Images per class. */
  readonly ipc: number;
  /** The teacher on whole images: share classified correctly, and mean probability of the class. */
  readonly accuracy: number;
  readonly confidence: number;
  /** Mean batch-norm term of batches of 91 random classes, whole images, against the teacher's own statistics. */
  readonly bn: number;
  /** Of optimised images, in the batches and against the statistics of their making: of noise, and what it became. */
  readonly own?: { readonly noise: number; readonly made: number };
  /** Making the images, statistics included. */
  readonly seconds?: number;
  readonly cpuSeconds?: number;
  readonly bytes?: number;
  /** Top-1 of students of full labels, one per seed. */
  readonly full: readonly number[];
  readonly coded: readonly CodedStudents[];
}

/** Top-1 of students of compressed labels, one per seed. */
export interface CodedStudents {
  readonly method: CodedName;
  /** Bytes of the full labels over those of the archive, in total. */
  readonly ratio: number;
  readonly top1: readonly number[];
}

export interface SynthesisFlags {
  /** Images per class, one table for each. */
  readonly ipc?: readonly number[];
  /** Of compressed labels. */
  readonly ratios?: readonly number[];
  readonly seeds?: number;
  readonly report?: boolean;
  readonly say: (text: string) => void;
}

export const CODED_METHODS = ['VQAE', 'LPLD', 'transform, reuse, tau 20'] as const;
export type CodedName = (typeof CODED_METHODS)[number];

const IPCS = [1, 2];
const RATIOS = [10, 20, 40, 100, 200];
const REAL = ['google', 'openmoji', 'fluent'] as const;
/** Sets whose labels are compressed, and the only ones of more than one image a class. */
const CODED_SETS = [...SYNTHESIS_METHODS, 'random real'] as const;
const BN_BATCH = 91;

/**
 * One row per set of images: all students of full labels of an IPC first, those of the table's bars among them, then
 * those of coded labels as far as the run gets.
 */
export async function synthesisRows(
  computing: Setting,
  { ipc: ipcs = IPCS, ratios = RATIOS, seeds = 2, report = false, say }: SynthesisFlags,
): Promise<readonly SynthesisRow[]> {
  const workspace = new Workspace(computing.workspace.dir, { knownOnly: report });
  const setting = { ...computing, workspace };
  const rows: SynthesisRow[] = [];
  for (const ipc of ipcs) {
    const found = await rowsAt(ipc, seeds, setting, say);
    for (const ratio of ratios) {
      for (const method of CODED_METHODS) await addCoded(found, method, ratio, seeds, setting, say);
    }
    rows.push(...found.map(({ row }) => row));
  }
  return rows;
}

interface MeasuredSet {
  readonly set: LabelSet;
  row: SynthesisRow;
}

async function rowsAt(
  ipc: number,
  seeds: number,
  setting: Setting,
  say: SynthesisFlags['say'],
): Promise<MeasuredSet[]> {
  const names: readonly ImageSetName[] =
    ipc === 1 ? [...SYNTHESIS_METHODS, ...REAL, 'random real', 'noise'] : CODED_SETS;
  const found: MeasuredSet[] = [];
  for (const name of names) {
    const measured = await known(() => measureSet(name, ipc, setting));
    if (measured === undefined) continue;
    const full = await studentsOf('none', 1, measured.set, seeds, setting);
    found.push({ set: measured.set, row: { ...measured.row, full, coded: [] } });
    say(`IPC ${ipc}, ${name}: students ${percents(full)}`);
  }
  return found;
}

/** Adds the students of one method's labels at one ratio to all rows. */
async function addCoded(
  found: readonly MeasuredSet[],
  method: CodedName,
  ratio: number,
  seeds: number,
  setting: Setting,
  say: SynthesisFlags['say'],
): Promise<void> {
  for (const measured of found) {
    const { set, row } = measured;
    if (!CODED_SETS.some((name) => name === row.images)) continue;
    const top1 = await studentsOf(method, ratio, set, seeds, setting);
    if (top1.length === 0) continue;
    measured.row = { ...row, coded: [...row.coded, { method, ratio, top1 }] };
    say(`IPC ${row.ipc}, ${row.images}, ${method} at ${ratio}x: ${percents(top1)}`);
  }
}

function percents(top1: readonly number[]): string {
  return top1.map((share) => (100 * share).toFixed(1)).join(' ');
}

/** Top-1 of one student per seed; of the known ones if nothing may be computed. */
async function studentsOf(
  name: MethodName,
  ratio: number,
  set: LabelSet,
  seeds: number,
  setting: Setting,
): Promise<readonly number[]> {
  const method = methodAt(name, ratio, set, setting);
  if (method === undefined) return [];
  const top1: number[] = [];
  for (let seed = 0; seed < seeds; seed++) {
    const step = await known(() => student(method, set, 'plain', seed, setting));
    if (step !== undefined) top1.push(step.top1);
  }
  return top1;
}

async function measureSet(name: ImageSetName, ipc: number, setting: Setting) {
  const made = await imagesNamed(name, ipc, setting);
  const hash = createHash('sha256').update(made.images.data).digest('hex');
  const set: LabelSet = { family: 'residual', ipc, made: { images: made.images, hash } };
  const { images: _, ...facts } = made;
  const row = { images: name, ipc, ...facts, ...(await judge(imagesOf(setting, set), setting)) };
  return { row, set };
}

interface NamedImages extends Pick<SynthesisRow, 'own' | 'seconds' | 'cpuSeconds' | 'bytes'> {
  readonly images: MemoryImages;
}

async function imagesNamed(
  name: ImageSetName,
  ipc: number,
  setting: Setting,
): Promise<NamedImages> {
  const { emoji } = setting;
  const classes = emoji.classes.length;
  const random = new RandomSequence(0, STREAM.training, 0);
  if (name === 'noise') return { images: noiseImages(classes, random) };
  const one = REAL.find((real) => real === name);
  if (one === undefined && name !== 'random real')
    return distilled(name as SynthesisMethod, ipc, setting);
  const setsOf = () =>
    one === undefined ? random.distinct(ipc, REAL.length) : [REAL.indexOf(one)];
  const sets = Array.from({ length: classes }, setsOf);
  const all = emojiSamples(emoji, [0, 1, 2]);
  const chosen = Array.from({ length: ipc * classes }, (_, i) => {
    const target = i % classes;
    return all.pixels(sets[target][Math.floor(i / classes)] * classes + target);
  });
  return { images: memoryImages(Buffer.concat(chosen), emoji.size, emoji.size) };
}

/** Its time is that of the run that made the images, from the workspace; of images that several runs made it has none. */
async function distilled(
  method: SynthesisMethod,
  ipc: number,
  setting: Setting,
): Promise<NamedImages> {
  const { workspace, emoji, backend, signal, onProgress } = setting;
  let before: number | undefined;
  const make = () =>
    distil({
      ...{ emoji, dir: workspace.dir, method, teacher: TEACHER_FILE },
      ...{ ipc, backend, seed: 0, signal },
      onProgress: ({ done, total, step }) => {
        before ??= done;
        onProgress(`${method}: job ${done} of ${total}, iteration ${step?.iteration ?? 0}`);
      },
    });
  const parameters = { method, images: emoji.hash, ipc, seed: 0 };
  const taken = await workspace.step('distilled', parameters, async () => {
    const [start, cpu] = [performance.now(), process.cpuUsage()];
    const { result, folder } = await make();
    const { user, system } = process.cpuUsage(cpu);
    const seconds = (performance.now() - start) / 1000;
    return {
      ...(before === 0 ? { seconds, cpuSeconds: (user + system) / 1e6 } : {}),
      bytes: result.bytes,
      own: await wholeTerms(folder),
    };
  });
  return { images: (await make()).images, ...taken };
}

/** Normal values of the teacher's normalisation, as the optimising methods begin with, clamped to pixels. */
function noiseImages(classes: number, random: RandomSequence): MemoryImages {
  const stride = IMAGE_SIZE * IMAGE_SIZE * 3;
  const { mean, std } = NORMALISATION;
  const data = Uint8Array.from({ length: classes * stride }, (_, i) => {
    const value = random.normal() * std[i % 3] + mean[i % 3];
    return Math.max(0, Math.min(255, Math.floor(255 * value)));
  });
  return memoryImages(data, IMAGE_SIZE, IMAGE_SIZE);
}

async function judge(images: MemoryImages, { backend }: Setting) {
  using teacher = await loadTeacher(TEACHER_FILE, { backend });
  const { count } = images;
  const { classes } = teacher;
  const stride = IMAGE_SIZE * IMAGE_SIZE * 3;
  const whole = new Float32Array(count * stride);
  renderWhole(images, { start: 0, count }, [IMAGE_SIZE, IMAGE_SIZE], NORMALISATION, whole);
  const logits = await teacher.logits(whole);
  let [right, confidence] = [0, 0];
  for (let i = 0; i < count; i++) {
    const row = logits.subarray(i * classes, (i + 1) * classes);
    const most = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const sum = row.reduce((total, logit) => total + Math.exp(logit - most), 0);
    right += Number(row[i % classes] === most);
    confidence += Math.exp(row[i % classes] - most) / sum;
  }
  const { network } = teacher;
  const stored = network?.stored();
  if (network === undefined || stored === undefined) throw new Error('no batch norms');
  const held = holdTo(stored, 1);
  const order = new RandomSequence(1, STREAM.training, 0).distinct(count, count);
  const terms: number[] = [];
  for (let at = 0; at + BN_BATCH <= count; at += BN_BATCH) {
    const batch = new Float32Array(BN_BATCH * stride);
    order.slice(at, at + BN_BATCH).forEach((image, i) => {
      batch.set(whole.subarray(image * stride, (image + 1) * stride), i * stride);
    });
    const tensor = tf.tensor4d(batch, [BN_BATCH, IMAGE_SIZE, IMAGE_SIZE, 3]);
    terms.push(normTerm({ network, held, firstBn: 10 }, tensor));
    tensor.dispose();
  }
  release(held);
  const bn = terms.reduce((sum, term) => sum + term, 0) / terms.length;
  return { accuracy: right / count, confidence: confidence / count, bn };
}
