import type { Command } from 'commander';
import { formatBytes } from '../core/format.js';
import { planTokens, type TokenPlan, type TokenPlanRequest } from '../planner/tokens.js';
import { type CliIo, print } from './io.js';
import { positiveInteger } from './options.js';

type PlanFlags = TokenPlanRequest & { readonly json?: boolean };

export function addTokensPlan(tokens: Command, io: CliIo): void {
  tokens
    .command('plan')
    .description('Predict bytes per token of every kind of label, before there are any.')
    .requiredOption('--vocabulary <n>', "ids of the teacher's tokenizer", positiveInteger)
    .requiredOption('--tokens <n>', 'labels, one per token', positiveInteger)
    .option(
      '--draws <n>',
      "ids drawn per label, of kinds that draw any; default: each kind's",
      positiveInteger,
    )
    .option('--width <n>', "dimensions of the teacher's hidden states", positiveInteger)
    .option('--teacher-bytes <n>', "size of the teacher's file", positiveInteger)
    .option('--json', 'print as JSON')
    .action(({ json, ...request }: PlanFlags) => {
      const plan = planTokens(request);
      print(io, json ? JSON.stringify(plan, null, 2) : describe(plan, request));
    });
}

const PARTS = ['text', 'ids', 'order', 'values', 'samples', 'total'] as const;

function describe(plan: TokenPlan, { tokens, teacherBytes }: TokenPlanRequest): string {
  const lines = [['kind', ...PARTS.map((part) => `${part}`), 'tables', 'all'].map(cell).join('')];
  for (const { name, perToken, side, bytes, teacherIsSmaller } of plan.kinds) {
    const parts = PARTS.map((part) => perToken[part].toFixed(1));
    const sizes = [formatBytes(side), formatBytes(bytes)];
    const note = teacherIsSmaller ? '  the teacher itself is smaller' : '';
    lines.push([name, ...parts, ...sizes].map(cell).join('') + note);
  }
  const notes = [
    'bytes per token; tables come once, at all tokens together',
    ...plan.usual.map(({ name, perToken }) => {
      return `${name}: ${perToken} B per token, ${formatBytes(perToken * tokens)}`;
    }),
    ...(plan.head === undefined
      ? []
      : [`output matrix for hidden states, float16: ${formatBytes(plan.head)} if it is stored`]),
    ...(teacherBytes === undefined || plan.teacherPerToken === undefined
      ? []
      : [
          `shipping the teacher: ${formatBytes(teacherBytes)}, ${plan.teacherPerToken.toFixed(1)} B per token`,
        ]),
    'ids, samples and hidden states are estimates from one model; the rest is exact to 1 %',
  ];
  return [...lines, '', ...notes].join('\n');
}

function cell(text: string): string {
  return text.padEnd(11);
}
