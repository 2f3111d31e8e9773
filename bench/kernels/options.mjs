import { parseArgs } from 'node:util';
import { OPERATIONS, SETTINGS, STREAMS } from './settings.mjs';

const USAGE = `npm run bench -- [options]

  --quick            under a minute: two settings, one thread, no compiled rivals, codecs in closed form
  --only OP[/DC,K]   this operation, or a setting's ("decode", "decode/20,1024", "*/20,1024"); may be repeated
  --threads N        may be repeated; default 1 and all processors
  --json FILE        writes machine, ceilings and rows
  --results          adds what it measured to bench/results/, one JSON and one Markdown file a kind of processor

Operations: ${Object.keys(OPERATIONS).join(', ')}
Without a setting: ${Object.keys(STREAMS).join(', ')}
Settings: ${SETTINGS.map(({ name }) => name).join(' ')}
`;

/**
 * Labels in the pool and to make codecs from, rounds, seconds per sample, seconds after which a case ends, batches tried,
 * training steps of codecs, and whether to measure compiled rivals, whose compiler takes minutes.
 */
const FULL = {
  ...{ pool: 16384, trainingLabels: 8192, steps: 200 },
  ...{ rounds: 15, sampleSeconds: 0.02, caseSeconds: 10, tries: 3, compiled: true },
};
const QUICK = {
  ...{ pool: 4096, trainingLabels: 4096, steps: 0 },
  ...{ rounds: 4, sampleSeconds: 0.004, caseSeconds: 0.5, tries: 1, compiled: false },
};
const QUICK_SETTINGS = ['20,1024', '100,64'];

export function parseOptions(argv, processors) {
  const { values } = parse(argv);
  const { quick = false, only = [], json, results = false } = values;
  const filters = only.map(parseFilter);
  const asked = (op, { name }) =>
    filters.length === 0
      ? !quick || QUICK_SETTINGS.includes(name)
      : filters.some(
          (filter) =>
            (filter.op === '*' || filter.op === op) &&
            (filter.setting === undefined
              ? !quick || QUICK_SETTINGS.includes(name)
              : filter.setting === name),
        );
  const streams = Object.keys(STREAMS).filter((op) =>
    filters.length === 0 ? !quick : filters.some((filter) => filter.op === op),
  );
  const operations = (setting) => Object.keys(OPERATIONS).filter((op) => asked(op, setting));
  const counts = values.threads?.map(parseThreads) ?? (quick ? [1] : [1, processors]);
  return {
    ...(quick ? QUICK : FULL),
    ...{ argv, json, results, operations, streams, threads: [...new Set(counts)] },
    settings: SETTINGS.filter((setting) => operations(setting).length > 0),
  };
}

function parse(argv) {
  try {
    const parsed = parseArgs({
      args: argv,
      options: {
        quick: { type: 'boolean' },
        only: { type: 'string', multiple: true },
        threads: { type: 'string', multiple: true },
        json: { type: 'string' },
        results: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    });
    if (parsed.values.help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    return parsed;
  } catch (error) {
    return fail(error.message);
  }
}

function parseFilter(text) {
  const [op, setting] = text.split('/');
  const known = op === '*' || Object.hasOwn(OPERATIONS, op);
  if (!known && !Object.hasOwn(STREAMS, op)) fail(`no operation "${op}"`);
  if (!known && setting !== undefined) fail(`"${op}" has no settings`);
  if (setting !== undefined && !SETTINGS.some(({ name }) => name === setting)) {
    fail(`no setting "${setting}"`);
  }
  return { op, setting };
}

function parseThreads(text) {
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 1 || threads > 256)
    fail(`--threads ${text}: 1 to 256`);
  return threads;
}

function fail(message) {
  process.stderr.write(`${message}\n\n${USAGE}`);
  process.exit(2);
}
