import { SoftpackError } from '../errors.js';
import type { DifferentiableNetwork, NormStatistics } from '../nn/network.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import type { RecoverRecipe } from './recipe.js';
import { tapShapes } from './statistics/features.js';
import { type FeatureStatistics, readStatistics } from './statistics/file.js';

/** Of each tap, for groups of images of these classes: [classes, channels], or [1, channels] for batches across classes. */
export type StatisticsFor = (targets: readonly number[]) => readonly NormStatistics[];

export interface StatisticsRequest {
  readonly teacher: Teacher;
  readonly network: DifferentiableNetwork;
  /** First class and the one after the last. */
  readonly range: readonly [number, number];
  readonly batches: RecoverRecipe['batches'];
  /** File of `featureStatistics`, instead of what the network keeps. */
  readonly file?: string;
}

/**
 * The statistics that images are held to.
 *
 * @throws `INVALID_ARGUMENT` with the numbers if there are none, or none of the classes.
 */
export async function statisticsFor(request: StatisticsRequest): Promise<StatisticsFor> {
  const { teacher, network, range, batches, file } = request;
  const taps = tapShapes(network, teacher.size);
  const read =
    file === undefined
      ? undefined
      : await readStatistics(file, teacher.fingerprint, taps, teacher.classes);
  if (batches === 'across classes') {
    const all = read?.overall ?? network.stored();
    if (all !== undefined) return () => all;
    throw new SoftpackError(
      'INVALID_ARGUMENT',
      'the teacher keeps no statistics; take them with softpack statistics',
      {
        field: 'statistics',
        expected: `a file with those of its ${taps.length} convolutions, or a teacher with batch norms`,
        found: '0 batch norms',
      },
    );
  }
  return ofClasses(read, range);
}

function ofClasses(
  read: FeatureStatistics | undefined,
  [from, end]: readonly [number, number],
): StatisticsFor {
  const perClass = read?.perClass;
  const lacking = Array.from({ length: end - from }, (_, i) => from + i).filter(
    (target) => (perClass?.views[target] ?? 0) === 0,
  );
  if (perClass === undefined || lacking.length > 0) {
    throw new SoftpackError(
      'INVALID_ARGUMENT',
      'lpld needs the statistics of every class; take them with softpack statistics',
      {
        field: 'statistics',
        expected: `a file with those of ${end - from} classes`,
        found:
          perClass === undefined
            ? `${read === undefined ? 'no file' : 'a file without classes'}`
            : `none of ${lacking.length} classes, the first ${lacking[0]}`,
      },
    );
  }
  return (targets) =>
    perClass.ofTap.map(({ mean, variance }) => {
      const channels = mean.length / perClass.views.length;
      const rows = (values: Float32Array) => {
        const out = new Float32Array(targets.length * channels);
        targets.forEach((target, i) => {
          out.set(values.subarray(target * channels, (target + 1) * channels), i * channels);
        });
        return out;
      };
      return { mean: rows(mean), variance: rows(variance) };
    });
}
