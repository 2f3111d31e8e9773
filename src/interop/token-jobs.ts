import { createHash } from 'node:crypto';
import { planArchive, requireSame } from '../archive/spec.js';
import { loadXxh64, sha256 } from '../container/checksum.js';
import { joinBlocks } from '../core/blocks.js';
import { argument, type FieldChecker } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { VERSION } from '../core/version.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { fileSha256 } from '../nn/teachers/fingerprint.js';
import { ArchiveProduct, type ShardEncoder } from '../pipeline/job/archive-product.js';
import { findCodec, keepCodec } from '../pipeline/job/codec-file.js';
import {
  type JobKind,
  type JobProduct,
  type JobWorkerOptions,
  type PrepareOptions,
  requireUnused,
} from '../pipeline/job/kind.js';
import {
  findJob,
  type Job,
  type JobContent,
  jobOf,
  keepJob,
  requireSameJob,
} from '../pipeline/job/record.js';
import { type JobStores, requireFree, requireWritable } from '../pipeline/job/stores.js';
import { nameIn } from '../store/address.js';
import { readLocalFile } from '../store/local.js';
import { readStored } from '../store/read-stored.js';
import { checkTokenConfig, type TokenCodecConfig } from '../tokens/config.js';
import { type CountedSource, sequencesSpec } from '../tokens/pack-sequences.js';
import { countTokens, encodeTokens, tokenConfig } from '../tokens/pack-tokens.js';
import { TOKEN_DECODING, TokenCodec } from '../tokens/token-codec.js';
import type { TokenSource } from '../tokens/token-source.js';
import { trainTokenCodec } from '../tokens/train-tokens.js';
import { codecChoice, type LabelTextsOptions, MAX_TEXT, textsOf } from './label-texts.js';
import { type LlamaTeacher, openLlamaTeacher } from './tokens/llama-teacher.js';

/** What a job labels, and how. */
export type TokenJobOptions = Omit<
  LabelTextsOptions,
  | 'out'
  | 'answers'
  | 'answerTokens'
  | 'onAnswer'
  | 'onProgress'
  | 'signal'
  | 'head'
  | 'headTensor'
  | 'kl'
  | 'exact'
  | 'storeHead'
>;

/** Everything that the bytes of an archive of labels of texts depend on. */
interface TokensContent extends JobContent {
  readonly kind: 'tokens';
  /** Path of the model, as the archive records it. */
  readonly model: string;
  readonly found: FoundTexts;
  readonly codec: TokenCodecConfig;
  /** Sums of so many threads may round differently. */
  readonly threads: number;
  readonly shardTexts?: number;
}

/** What a machine finds: others must find the same. */
interface FoundTexts extends CountedSource {
  /** sha256 of the model's file, of the texts' and of their ids, hex. */
  readonly modelSha256: string;
  readonly textsSha256: string;
  readonly idsSha256: string;
  readonly vocabulary: number;
}

type TokensJob = Job<TokensContent, TokenJobOptions>;

/** Gives node-llama-cpp. */
type Load = () => Promise<unknown>;

/**
 * Writes a job that labels texts with a GGUF model on many machines, and the texts beside it: workers need the model alone.
 * No label is made. Planning the same job again changes nothing.
 *
 * @param load gives node-llama-cpp; default: the installed package.
 * @throws What `labelTexts` throws for the same options; `ALREADY_EXISTS` naming the first difference if another job is
 *   there, or anything else; `UNSUPPORTED` for prompts without answers: those are drawn one after the other.
 */
export async function planTokenJob(
  stores: JobStores,
  options: TokenJobOptions,
  signal?: AbortSignal,
  load?: Load,
): Promise<TokensJob> {
  const { source: file, model, threads = 1, seed = 0, shardTexts } = options;
  if (shardTexts !== undefined) argument.count(shardTexts, 'shardTexts', 1);
  if (options.codec === 'hidden') {
    throw new SoftpackError('UNSUPPORTED', 'one machine labels by hidden states', {
      field: 'codec',
      expected: 'a codec of probabilities, or labelling without a job',
      found: 'hidden',
    });
  }
  const there = await findJob(stores, { signal });
  if (there === undefined) await requireFree(stores);
  const bytes = await readLocalFile(file, MAX_TEXT);
  await using opened = await openTexts(options, model, file, bytes, { signal, load });
  const { found } = opened;
  const content: TokensContent = {
    ...{ kind: 'tokens', softpack: VERSION, model, threads, found },
    codec: tokenConfig(codecChoice(options), found.vocabulary, seed),
    ...(shardTexts === undefined ? {} : { shardTexts }),
  };
  const job = jobOf(content, options, { softpack: VERSION });
  if (there !== undefined) requireSameJob(there, job);
  await stores.job.putIfAbsent(textsFile(found), bytes, { signal });
  await keepJob(stores, job, { signal });
  return job;
}

/** Jobs of a language model's labels of texts. */
export function tokenJobs(load?: Load): JobKind {
  return {
    name: 'tokens',
    unit: 'texts',
    requireFields,
    total: (job) => contentOf(job).found.sequences,
    describe(job) {
      const { sequences: texts, labels, vocabulary } = contentOf(job).found;
      const words = `${labels} labels of ${texts} texts, vocabulary ${vocabulary}`;
      return { words, facts: { labels, vocabulary } };
    },
    prepare: (stores, job, options) => trainCodec(stores, job as TokensJob, options, load),
    find: (stores, job) => findArchive(stores, job as TokensJob, load),
  };
}

function requireFields(
  { model, found, codec, threads, shardTexts }: JsonObject,
  { source, model: planned }: JsonObject,
  check: FieldChecker,
): void {
  check.text(model, 'content.model');
  const own = check.object(found, 'content.found');
  for (const name of ['sequences', 'labels', 'tokens', 'vocabulary']) {
    check.count(own[name], `content.found.${name}`, 1);
  }
  for (const name of ['modelSha256', 'textsSha256', 'idsSha256']) {
    check.digest(own[name], `content.found.${name}`);
  }
  checkTokenConfig(check.object(codec, 'content.codec') as unknown as TokenCodecConfig, check);
  check.count(threads, 'content.threads', 1);
  if (shardTexts !== undefined) check.count(shardTexts, 'content.shardTexts', 1);
  check.text(source, 'options.source');
  check.text(planned, 'options.model');
}

function contentOf(job: Job): TokensContent {
  return (job as TokensJob).content;
}

/** Named by its content: of two that plan different jobs at the same time one is refused. */
function textsFile({ textsSha256 }: FoundTexts): string {
  return `texts-${textsSha256.slice(0, 16)}`;
}

interface OpenedTexts extends AsyncDisposable {
  readonly teacher: LlamaTeacher;
  readonly found: FoundTexts;
}

async function openTexts(
  options: TokenJobOptions,
  model: string,
  file: string,
  bytes: Uint8Array,
  { signal, load }: { readonly signal?: AbortSignal; readonly load?: Load },
): Promise<OpenedTexts> {
  const texts = textsOf(file, bytes);
  const open = texts.findIndex((text) => typeof text !== 'string' && text.answer === undefined);
  if (open >= 0) {
    throw new SoftpackError('UNSUPPORTED', 'one machine draws answers: jobs label what is there', {
      field: `${file}: text ${open}`,
      expected: 'an answer to every prompt',
      found: 'a prompt alone',
    });
  }
  const teacher = await openLlamaTeacher({ ...options, model, texts, signal }, load);
  try {
    const found = {
      modelSha256: await fileSha256(model),
      textsSha256: sha256(bytes),
      ...(await idsOf(teacher, signal)),
      vocabulary: teacher.vocabulary,
    };
    return { teacher, found, [Symbol.asyncDispose]: () => teacher.close() };
  } catch (error) {
    await teacher.close();
    throw error;
  }
}

async function idsOf(source: TokenSource, signal: AbortSignal | undefined) {
  const hash = createHash('sha256');
  for await (const { tokens = new Int32Array(), first, rows } of source.sequences(signal)) {
    hash.update(Int32Array.of(tokens.length, first, rows)).update(tokens);
  }
  return { ...(await countTokens(source, signal)), idsSha256: hash.digest('hex') };
}

/** The model and texts of a job. `INVALID_ARGUMENT` naming the first difference if the model here is another. */
async function openJobTexts(
  { job: store }: JobStores,
  { content, options }: TokensJob,
  worker: JobWorkerOptions,
  load: Load | undefined,
): Promise<OpenedTexts> {
  requireUnused(worker, ['images', 'statistics', 'workers'], 'texts');
  const { found, threads } = content;
  const name = textsFile(found);
  const { signal, teacher = options.model } = worker;
  const bytes = await readStored(store, name, MAX_TEXT, { signal });
  const field = nameIn(store.name, name);
  if (bytes === undefined) {
    throw new SoftpackError('NOT_FOUND', 'the texts of the job are not there', { field });
  }
  const opened = await openTexts({ ...options, threads }, teacher, field, bytes, { signal, load });
  try {
    requireSame(
      canonicalJson(found, 'job') as JsonObject,
      canonicalJson(opened.found, 'job') as JsonObject,
      'INVALID_ARGUMENT',
      'not the model and texts of the job',
    );
    return opened;
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

async function trainCodec(
  stores: JobStores,
  job: TokensJob,
  worker: PrepareOptions,
  load: Load | undefined,
): Promise<boolean> {
  const { signal } = worker;
  if ((await findCodec(stores)) !== undefined) return false;
  await requireWritable(stores, { signal });
  await using texts = await openJobTexts(stores, job, worker, load);
  const { codec: config, found } = job.content;
  const { codec } = await trainTokenCodec(texts.teacher, found, config, loadKernels(), signal);
  return await keepCodec(stores, { parts: codec.parts() }, { ...found }, { signal });
}

async function findArchive(
  stores: JobStores,
  job: TokensJob,
  load: Load | undefined,
): Promise<JobProduct | undefined> {
  const kept = await findCodec(stores);
  if (kept === undefined) return undefined;
  const { found, model, shardTexts } = job.content;
  const { vocabulary } = found;
  const layout = { teacher: { model }, shardTexts };
  const spec = sequencesSpec(kept.parts, TOKEN_DECODING, found, vocabulary, layout);
  const xxh64 = await loadXxh64();
  const codec = TokenCodec.fromParts(kept.parts, loadKernels());
  return new ArchiveProduct(stores, planArchive(spec, xxh64), xxh64, {
    openEncoder: async (worker) =>
      textEncoder(await openJobTexts(stores, job, worker, load), codec, worker.signal),
    measured() {
      const { labels, sequences } = found;
      return { words: `${labels} labels of ${sequences} texts`, facts: { labels, sequences } };
    },
    dispose: () => undefined,
  });
}

function textEncoder(
  texts: OpenedTexts,
  codec: TokenCodec,
  signal: AbortSignal | undefined,
): ShardEncoder {
  const kernels = loadKernels();
  return {
    async encode({ samples: [first, end] }, add, onProgress) {
      let [sequence, labels] = [0, 0];
      for await (const own of texts.teacher.sequences(signal)) {
        if (sequence >= end) break;
        if (sequence >= first) {
          throwIfAborted(signal);
          const block = await encodeTokens(own, sequence, codec, kernels);
          await add({ epoch: 0, start: sequence, count: 1 }, joinBlocks([block]));
          labels += own.rows;
          onProgress(sequence + 1 - first);
        }
        sequence++;
      }
      return [BigInt(labels), 0n, 0n, 0n, 0n];
    },
    [Symbol.asyncDispose]: () => texts[Symbol.asyncDispose](),
  };
}
