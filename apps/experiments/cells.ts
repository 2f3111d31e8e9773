import type { SizedChoice } from '#src/codecs/registry.js';
import type { LabelSet } from './labels.js';
import type { MethodName } from './methods.js';
import { FAMILY_NAMES, type Family, type Scale, type StudentName } from './recipe.js';

export type ExperimentName =
  | 'table1'
  | 'table3'
  | 'table4'
  | 'table5'
  | 's9'
  | 'reuse'
  | 'ablation'
  | 'kept'
  | 'tau20'
  | 'harder'
  | 'second'
  | 'longer'
  | 'figure2'
  | 'figure3'
  | 'controls';

/** One row of a table or point of a figure, before it is measured. */
export interface Cell {
  readonly method: MethodName | 'random subset';
  /** Bytes of the full labels over those of the archive, in total. */
  readonly ratio: number;
  readonly set: LabelSet;
  readonly student: StudentName;
  /** Parameters to use instead of those that fit the ratio. */
  readonly codec?: SizedChoice;
  /** Stored epochs to use instead of those that suit the ratio. */
  readonly keep?: number;
  /** The scale's number of students, or one. */
  readonly students: 'several' | 'one';
}

export interface Experiment {
  readonly name: ExperimentName;
  readonly title: string;
  readonly cells: readonly Cell[];
  /** Measured when it is named, not with all. */
  readonly byName?: boolean;
}

/** Beside half an image: how much a view shows at least, and epochs of a longer training. */
const SMALL_CROP = 0.08;
const MANY_EPOCHS = 200;
const PAST_PAPER = [200, 400, 1000, 2000];
const LOW_RATIOS = [10, 20, 30, 40];
const HIGH_RATIOS = [100, 200];

/** Cells of each experiment, most important first: a run may be stopped at any time. */
export function experiments(scale: Scale): readonly Experiment[] {
  const set = (ipc: number, family: Family = 'residual'): LabelSet => ({ ipc, family });
  const cell = (method: Cell['method'], ratio: number, change: Partial<Cell> = {}): Cell => ({
    ...{ method, ratio, set: set(scale.ipcs[0]), student: 'plain', students: 'several' },
    ...change,
  });
  const against = (ratios: readonly number[], change: Partial<Cell> = {}) =>
    ratios.flatMap((ratio) => [cell('LPLD', ratio, change), cell('VQAE', ratio, change)]);
  const full = (change: Partial<Cell> = {}) => cell('none', 1, change);
  const pastPaper = (change: Partial<Cell>) => [
    cell('none, LPQLD temperatures', 1, change),
    ...PAST_PAPER.map((ratio) => cell('transform, reuse', ratio, change)),
  ];
  const table1 = scale.ipcs.flatMap((ipc) => [
    full({ set: set(ipc) }),
    ...against(LOW_RATIOS, { set: set(ipc) }),
  ]);
  const s9 = scale.ipcs.flatMap((ipc) => [
    full({ set: set(ipc) }),
    ...against(HIGH_RATIOS, { set: set(ipc) }),
  ]);
  const baselines = [40, 100].flatMap((ratio) => [
    ...(['PCA', 'RPCA', 'top-K', 'top-K, renormalised', 'VQ'] as const).map((name) =>
      cell(name, ratio),
    ),
    ...(['VQAE', 'LPLD', 'VQAE + LPLD', 'LPQLD', 'VQAE, LPQLD temperatures'] as const).map((name) =>
      cell(name, ratio),
    ),
  ]);
  const crossed = [20, 40, 100];
  return [
    {
      name: 'controls',
      title: 'Controls: what needs no codec, and what no codec can beat',
      cells: [
        full(),
        cell('mean per class', 1),
        cell('random labels', 1),
        cell('random subset', 40),
        cell('random subset', 100),
      ],
    },
    {
      name: 'table3',
      title: 'Table 3: baselines at below 10x, 40x and 100x',
      cells: [
        full(),
        cell('none, LPQLD temperatures', 1),
        ...(['FKD, hard', 'FKD, smoothing', 'FKD, marginal smoothing', 'FerKD'] as const).map(
          (name) => cell(name, 1),
        ),
        cell('scalar, 4 levels', 8),
        cell('scalar, 8 levels', 5),
        ...baselines,
      ],
    },
    {
      name: 's9',
      title: 'Table S9: 100x and 200x, and reuse at the same bytes',
      cells: [
        ...s9,
        ...scale.ipcs.flatMap((ipc) => [
          cell('none, LPQLD temperatures', 1, { set: set(ipc) }),
          ...HIGH_RATIOS.flatMap((ratio) =>
            (['VQAE, reuse', 'transform, reuse'] as const).map((name) =>
              cell(name, ratio, { set: set(ipc) }),
            ),
          ),
        ]),
      ],
    },
    {
      name: 'reuse',
      title: "Past 100x: the transform codec and reused epochs, at LPQLD's temperatures",
      cells: [
        ...scale.ipcs.flatMap((ipc) => [
          cell('none, LPQLD temperatures', 1, { set: set(ipc) }),
          ...(ipc === scale.ipcs[0] ? [400, 1000, 2000, 200, 100] : [400, 1000, 2000, 200]).map(
            (ratio) => cell('transform, reuse', ratio, { set: set(ipc) }),
          ),
        ]),
        ...[1000, 2000, 400].map((ratio) => cell('transform, varied reuse', ratio)),
        ...[1000, 2000].map((ratio) => cell('predictive, reuse', ratio)),
        ...[200, 400, 100].map((ratio) => cell('VQAE, reuse', ratio)),
        cell('LPQLD', 200),
        cell('LPQLD', 100),
        ...HIGH_RATIOS.map((ratio) => cell('VQAE, LPQLD temperatures', ratio)),
        cell('mean per class', 1),
        ...HIGH_RATIOS.flatMap((ratio) => [cell('LPLD', ratio), cell('random subset', ratio)]),
      ],
    },
    {
      name: 'ablation',
      byName: true,
      title: 'The transform codec with one part switched off',
      cells: [
        cell('none, LPQLD temperatures', 1),
        ...[400, 1000].flatMap((ratio) =>
          (
            [
              'transform, reuse',
              'transform',
              'transform, reuse, no base vectors',
              'transform, reuse, basis of 8 bits',
              'transform, reuse, dead zone',
              'transform, reuse, 8 states',
              'transform, reuse, tau 20',
            ] as const
          ).map((name) => cell(name, ratio)),
        ),
        cell('none', 1),
      ],
    },
    {
      name: 'kept',
      byName: true,
      title: "Labels of fewer epochs, reused, at LPQLD's temperatures",
      cells: [
        cell('none, LPQLD temperatures', 1),
        ...[2, 5, 10, 20].map((ratio) => cell('none, reuse', ratio)),
        ...[undefined, 5, 4].map((keep) => cell('transform, reuse', 1000, { keep })),
        ...[undefined, 4, 3].map((keep) => cell('transform, reuse', 2000, { keep })),
      ],
    },
    {
      name: 'tau20',
      byName: true,
      title: 'Past 100x at tau 20 throughout',
      cells: [
        cell('none', 1),
        cell('transform, reuse, tau 20', 400),
        cell('VQAE, reuse, tau 20', 400),
        cell('VQAE', 100),
        cell('VQAE', 400),
        ...[200, 1000].map((ratio) => cell('transform, reuse, tau 20', ratio)),
      ],
    },
    {
      name: 'harder',
      byName: true,
      title: `Past 100x with views that show ${100 * SMALL_CROP} % of an image and more`,
      cells: pastPaper({ set: { ...set(scale.ipcs[0]), smallestCrop: SMALL_CROP } }),
    },
    {
      name: 'second',
      byName: true,
      title: 'Past 100x with a second student',
      cells: pastPaper({ student: 'residual' }),
    },
    {
      name: 'longer',
      byName: true,
      title: `Past 100x in ${MANY_EPOCHS} epochs`,
      cells: pastPaper({ set: { ...set(scale.ipcs[0]), epochs: MANY_EPOCHS } }),
    },
    { name: 'table1', title: 'Table 1: label pruning and VQAE at 10x to 40x', cells: table1 },
    {
      name: 'figure2',
      title: 'Figure 2: retained accuracy against compression',
      cells: [...table1, ...s9],
    },
    {
      name: 'table4',
      title: 'Table 4: teachers and students of other families',
      cells: [
        ...FAMILY_NAMES.flatMap((family) => {
          const change = { set: set(scale.ipcs[0], family), students: 'one' } as const;
          return [full(change), ...against(crossed, change)];
        }),
        ...(['wide', 'residual'] as const).flatMap((student) => {
          const change = { student, students: 'one' } as const;
          return [full(change), ...against(crossed, change)];
        }),
      ],
    },
    {
      name: 'table5',
      title: 'Table 5: one level set of (k, dc)',
      cells: [
        [2, 5],
        [4, 10],
        [16, 20],
        [256, 40],
      ].map(([k, dc]) => cell('VQAE', 75, { codec: { name: 'vqae', dh: 360, dc, k } })),
    },
    {
      name: 'figure3',
      title: 'Figure 3: accuracy against storage over k and dc',
      cells: [2, 4, 8, 16].flatMap((dc) =>
        [64, 256, 1024].map((k) =>
          cell('VQAE', 1, { codec: { name: 'vqae', dh: 128, dc, k }, students: 'one' }),
        ),
      ),
    },
  ];
}
