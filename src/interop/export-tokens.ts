import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { requireOutput } from '../pipeline/preflight.js';
import { openTokenArchive, type TokenArchive, type TokenLabels } from '../tokens/token-archive.js';
import type { SparseRows, TokenSource } from '../tokens/token-source.js';
import { NewFolder } from './exports/folder.js';
import { SparseBuilder } from './tokens/sparse-builder.js';
import { writeAxolotl } from './tokens/write-axolotl.js';
import { writeDistillKit } from './tokens/write-distillkit.js';
import { writeVllm } from './tokens/write-vllm.js';

export const TOKEN_EXPORTS = ['distillkit', 'vllm', 'axolotl'] as const;
export type TokenExport = (typeof TOKEN_EXPORTS)[number];

export interface ExportTokensOptions {
  /** Archive of labels of tokens, or its address. */
  readonly source: string;
  readonly to: TokenExport;
  /** Folder to write; must not exist, or be empty. */
  readonly out: string;
  readonly signal?: AbortSignal;
}

export interface ExportTokensResult {
  readonly to: TokenExport;
  readonly sequences: number;
  readonly files: number;
  readonly bytes: number;
}

const WRITERS = { distillkit: writeDistillKit, vllm: writeVllm, axolotl: writeAxolotl } as const;

/**
 * Writes an archive's labels of tokens as DistillKit, vLLM or axolotl have them. The folder appears once it is complete.
 *
 * @throws `UNSUPPORTED` naming what the layout cannot hold: ids that were sampled from the tail, texts without ids.
 */
export async function exportTokens(options: ExportTokensOptions): Promise<ExportTokensResult> {
  const { source, to, out, signal } = options;
  argument.oneOf(to, 'to', TOKEN_EXPORTS);
  await using archive = await openTokenArchive(source);
  await requireOutput('out', out, [{ what: 'the archive', path: source }]);
  await using folder = await NewFolder.create(out);
  const sequences = await WRITERS[to](folder, sourceOf(archive), signal);
  await folder.finish();
  return { to, sequences, files: folder.files, bytes: folder.bytes };
}

/** An archive's labels as lists of a few entries. */
function sourceOf(archive: TokenArchive): TokenSource {
  const { vocabulary, sequences } = archive;
  return {
    vocabulary,
    async *sequences() {
      for (let i = 0; i < sequences; i++) {
        const name = `sequence ${i}`;
        const { tokens, first } = await archive.text(i);
        const labels = await archive.labels(i);
        requireListed(name, labels);
        yield {
          name,
          ...(tokens === undefined ? {} : { tokens }),
          ...{ first, rows: labels.positions, labels: listedRows(name, labels) },
        };
      }
    },
  };
}

function requireListed(field: string, { tail }: TokenLabels): void {
  if (tail.kind !== 'sampled') return;
  throw new SoftpackError(
    'UNSUPPORTED',
    'no other tool reads ids that were sampled from the tail',
    {
      field,
      expected: "labels of codecs 'topk' or 'topk-vq'",
      found: tail.kind,
    },
  );
}

function listedRows(name: string, labels: TokenLabels): SparseRows {
  const { positions, width, ids, probabilities, vocabulary } = labels;
  const builder = new SparseBuilder(name, vocabulary);
  for (let row = 0; row < positions; row++) {
    for (let i = row * width; i < (row + 1) * width; i++) {
      if (probabilities[i] > 0) builder.add(ids[i], Math.log(probabilities[i]));
    }
    builder.endRow();
  }
  return builder.finish();
}
