import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import { type ExportTokensOptions, exportTokens, TOKEN_EXPORTS } from '../interop/export-tokens.js';
import { type ImportTokensOptions, importTokens } from '../interop/import-tokens.js';
import { type LabelTextsOptions, labelTexts } from '../interop/label-texts.js';
import { TOKEN_LAYOUTS } from '../interop/open-tokens.js';
import { openJobStores } from '../pipeline/job/stores.js';
import { refusePredictor, type StoredTail, TAILS, TOKEN_PRESETS } from '../tokens/config.js';
import { addInspect } from './inspect.js';
import { type CliIo, print } from './io.js';
import { addJobOption, printJob, requireOutOrJob, type ScriptFlags } from './job-output.js';
import { nonNegativeInteger, positiveInteger, positiveNumber } from './options.js';
import { reportedStep } from './progress.js';
import { addTokensPlan } from './tokens-plan.js';
import { addVerify } from './verify.js';

type ImportFlags = Omit<ImportTokensOptions, 'source' | 'signal' | 'onProgress'> & {
  readonly json?: boolean;
};
type ExportFlags = Omit<ExportTokensOptions, 'source' | 'signal'> & { readonly json?: boolean };

export function addTokens(program: Command, io: CliIo): void {
  const tokens = program.command('tokens').description("Labels of language models' tokens.");
  addLabel(tokens, io);
  addImport(tokens, io);
  addExport(tokens, io);
  addTokensPlan(tokens, io);
  // As for any archive: here is where users of labels of texts look for them.
  addInspect(tokens, io);
  addVerify(tokens, io);
}

type LabelFlags = Omit<LabelTextsOptions, 'source' | 'signal' | 'onProgress'> &
  ScriptFlags & { readonly json?: boolean; readonly job?: string };

const OUT = '-o, --out <dir>';

function tailOf(text: string): StoredTail {
  refusePredictor(text, '--tail');
  const tail = TAILS.find((own) => own === text);
  if (tail !== undefined) return tail;
  throw new InvalidArgumentError(`Allowed choices are ${TAILS.join(', ')}.`);
}

function addLabel(tokens: Command, io: CliIo): void {
  const command = tokens
    .command('label')
    .description('Label texts with a GGUF model, by node-llama-cpp.')
    .argument(
      '<file>',
      'a text per line, or JSON lines with "text", or with "prompt" and "answer", which is labelled; without it the model answers',
    )
    .requiredOption('--model <file>', 'GGUF model')
    .option(OUT, 'archive to write; interrupted labelling is resumed')
    .addOption(
      new Option('--codec <name>', 'default: sampled, with --top head-tail').choices([
        ...Object.keys(TOKEN_PRESETS),
        'hidden',
      ]),
    )
    .option('-k, --top <n>', "ids kept per label; default: the codec's", positiveInteger)
    .option(
      '--draws <n>',
      "ids drawn per label, of codecs that draw any; default: the codec's",
      positiveInteger,
    )
    .option(
      '--kl <x>',
      'hidden states: divergence aimed at, in nats; default: 0.005',
      positiveNumber,
    )
    .option(
      '--exact <n>',
      'hidden states: most ids of a label whose logits are corrected, 0 for none; default: 16',
      nonNegativeInteger,
    )
    .option(
      '--head <file>',
      "the model's output matrix (.gguf, .npy, .safetensors), to make logits of hidden states: faster than asking for probabilities; hidden states: default: that of the model's file",
    )
    .option('--head-tensor <name>', 'which tensor of it, e.g. output.weight')
    .option('--store-head', 'store the output matrix in the archive; default: only its sha256')
    .option(
      '--seed <n>',
      'of answers and of ids drawn from the tail; default: 0',
      nonNegativeInteger,
    )
    .option(
      '--answer-tokens <n>',
      "most tokens of the model's answers; default: 256",
      positiveInteger,
    )
    .option('--answers <file>', 'keeps the answers; default: OUT.answers.jsonl')
    .option('--context-size <n>', 'most tokens of a text; default: 2048', positiveInteger)
    .option('--threads <n>', 'default: 1', positiveInteger)
    .option(
      '--shard-texts <n>',
      'texts of a shard of the archive; default: as many as have about 2^18 labels',
      positiveInteger,
    );
  addJobOption(command, [
    'answers',
    'answerTokens',
    'kl',
    'exact',
    'head',
    'headTensor',
    'storeHead',
  ])
    .option('--json', 'print the result as JSON')
    .action(async (source: string, all: LabelFlags) => {
      requireOutOrJob(command, OUT);
      if (all.job !== undefined) return planJob(io, all.job, source, all);
      const { json, job: _, for: __, tasks: ___, ...flags } = all;
      const drawn = reportedStep('drawing answers', io.stderr);
      const bar = reportedStep('labelling texts', io.stderr);
      const shared = { ...flags, source, signal: io.signal };
      const onAnswer = (done: number, total: number) => {
        drawn.report(done, total);
        if (done === total) drawn.finish();
      };
      const options = { ...shared, onAnswer, onProgress: bar.report };
      const result = await labelTexts(options);
      bar.finish();
      const { labels, sequences } = result;
      const text = `${labels} labels of ${sequences} texts in ${flags.out}`;
      print(io, json ? JSON.stringify(result) : text);
    });
}

async function planJob(io: CliIo, address: string, source: string, all: LabelFlags): Promise<void> {
  const { model, codec, top, draws, seed, contextSize, threads, shardTexts } = all;
  const options = { source, model, codec, top, draws, seed, contextSize, threads, shardTexts };
  const { planTokenJob } = await import('../interop/token-jobs.js');
  const job = await planTokenJob(await openJobStores(address), options, io.signal);
  const { labels, sequences } = job.content.found;
  const lines = [`${labels} labels of ${sequences} texts`, `next: softpack cache codec ${address}`];
  printJob(io, address, job, lines, all);
}

function addImport(tokens: Command, io: CliIo): void {
  tokens
    .command('import')
    .alias('pack')
    .description(
      'Store labels of llama.cpp, vLLM, SGLang, DeepSpec, DistillKit, Megatron-LM, axolotl or own arrays as an archive.',
    )
    .argument('<path>', 'file or folder that the tool wrote')
    .requiredOption('-o, --out <dir>', 'archive to write; an interrupted import is resumed')
    .addOption(
      new Option(
        '--from <layout>',
        'default: detected by names and contents; own arrays must be named',
      ).choices(TOKEN_LAYOUTS),
    )
    .option(
      '--vocabulary <n>',
      "ids of the teacher's tokenizer, without what pads its head; files of some tools do not tell it",
      positiveInteger,
    )
    .option(
      '--tokens <file>',
      'ids of the texts (.npy, .npz, .safetensors), if not stored with the labels',
    )
    .option('--tokens-tensor <name>', 'which array of it, if it holds several')
    .option('--lengths <file>', 'tokens of every text, if they follow one another in one array')
    .option('--lengths-tensor <name>', 'which array of it, if it holds several')
    .option('--tensor <name>', 'logits, hidden: which array of a file that holds several')
    .option(
      '--layer <n>',
      'vllm-hidden: of the stored layers, from 0; default: last',
      nonNegativeInteger,
    )
    .option('--column <name>', 'axolotl: of the log-probabilities; default: logprobs')
    .option(
      '--prompt-logprobs <n>',
      'vllm: of the requests; default: by the ranks',
      positiveInteger,
    )
    .addOption(
      new Option(
        '--codec <name>',
        'default: sampled for logits, head-tail with --top, topk for labels of a few ids, hidden for hidden states, which --head makes logits of for the other kinds',
      ).choices([...Object.keys(TOKEN_PRESETS), 'hidden']),
    )
    .option('-k, --top <n>', 'ids kept per label; default: those of the files', positiveInteger)
    .option(
      '--draws <n>',
      "ids drawn per label, of codecs that draw any; default: the codec's",
      positiveInteger,
    )
    .addOption(
      new Option(
        '--tail <kind>',
        "what labels without samples say of unlisted ids; default: the codec's",
      )
        .choices(TAILS)
        .argParser(tailOf),
    )
    .option(
      '--head <file>',
      "hidden states: the teacher's output matrix (.npy, .safetensors, .gguf)",
    )
    .option('--head-tensor <name>', 'which tensor of it, e.g. lm_head.weight')
    .option('--store-head', 'store the output matrix in the archive; default: only its sha256')
    .option('--norm <file>', "weights of the teacher's last norm, for states from before it (vLLM)")
    .option('--norm-tensor <name>', 'which tensor of it, e.g. model.norm.weight')
    .option('--norm-eps <x>', 'of the norm; default: 1e-5', positiveNumber)
    .option(
      '--kl <x>',
      'hidden states: divergence aimed at, in nats; default: 0.005',
      positiveNumber,
    )
    .option(
      '--exact <n>',
      'hidden states: most ids of a label whose logits are corrected, 0 for none; default: 16',
      nonNegativeInteger,
    )
    .option('--seed <n>', 'of ids drawn from the tail; default: 0', nonNegativeInteger)
    .option('--json', 'print the result as JSON')
    .action(async (source: string, { json, ...flags }: ImportFlags) => {
      const bar = reportedStep('importing labels', io.stderr);
      const options = { ...flags, source, onProgress: bar.report, signal: io.signal };
      const result = await importTokens(options);
      bar.finish();
      const { layout, labels, sequences, tokens: length, codec, notes } = result;
      const lines = [
        `layout: ${layout}`,
        `${labels} labels of ${sequences} texts (${length} tokens) in ${flags.out}, codec ${codec}`,
        ...notes.map((note) => `note: ${note}`),
      ];
      print(io, json ? JSON.stringify(result) : lines.join('\n'));
    });
}

function addExport(tokens: Command, io: CliIo): void {
  tokens
    .command('export')
    .description('Write labels as DistillKit, vLLM or axolotl read them.')
    .argument('<dir>', 'archive, or its address')
    .addOption(
      new Option('--to <layout>', 'of the files').choices(TOKEN_EXPORTS).makeOptionMandatory(),
    )
    .requiredOption('-o, --out <dir>', 'folder to write; must not exist, or be empty')
    .option('--json', 'print the result as JSON')
    .action(async (source: string, { json, ...flags }: ExportFlags) => {
      const result = await exportTokens({ ...flags, source, signal: io.signal });
      const { sequences, files, bytes } = result;
      const text = `labels of ${sequences} texts in ${flags.out}: ${files} files, ${formatBytes(bytes)}`;
      print(io, json ? JSON.stringify(result) : text);
    });
}
