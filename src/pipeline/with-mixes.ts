import type { Column } from '../archive/identity.js';
import type { Pruning } from '../archive/pruning.js';
import { mixesOfRow } from '../archive/row-mixes.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import type { LabelSource } from '../labels/source.js';
import type { ViewUse } from '../labels/views.js';
import { boundSource } from './bound-source.js';
import type { SideRows } from './pack-source.js';
import { contextOf } from './training-labels.js';

/** A source that also tells what is mixed into the views of its labels and what they show, as the archive made of it will. */
export function withMixes(
  source: LabelSource,
  {
    augmentation,
    columns = [],
    pruning,
  }: {
    readonly augmentation?: object | null;
    readonly columns?: readonly Column[];
    readonly pruning?: Pruning;
  },
  sides: SideRows | undefined,
  use: ViewUse = true,
): LabelSource {
  if (augmentation === undefined || augmentation === null) return source;
  const { samples } = source;
  const spec = canonicalJson(augmentation, 'augmentation') as JsonObject;
  const rows = {
    manifest: { augmentation: spec, columns, samples, pruning },
    async readRow(row: number, column: string) {
      return (await sides?.read(row))?.[column] ?? new Uint8Array();
    },
  };
  return {
    ...boundSource(source),
    async labelsOf(row, start, count) {
      const labels = await contextOf(source, row, start, count);
      const whole = pruning && (await contextOf(source, row, 0, samples)).samples;
      const ids = whole instanceof Uint32Array ? whole : undefined;
      const mixes = await mixesOfRow(
        rows,
        row,
        labels,
        { start, count },
        {
          whole: ids,
          views: use,
        },
      );
      return mixes === undefined ? labels : { ...labels, augmentation: mixes };
    },
  };
}
