import type { LabelArchive } from '../archive/archive.js';
import { trainingLabels } from '../archive/identity.js';
import type { Manifest } from '../archive/manifest.js';
import { isJsonObject } from '../core/json.js';
import { HIDDEN_CODEC } from '../tokens/hidden/hidden-codec.js';
import { TOKEN_CODEC } from '../tokens/token-codec.js';

export type ArchiveFacts = ReturnType<typeof archiveFacts>;

/** What an archive holds and the size of every part, from its manifest and codec. */
export function archiveFacts(archive: LabelArchive) {
  const { manifest, classes, samples, epochs } = archive;
  const bytes = archive.bytes();
  const tokens = textsOf(manifest);
  const labels = tokens?.labels ?? trainingLabels({ ...manifest, epochs, samples });
  return {
    id: archive.id,
    archiveId: manifest.archiveId,
    epochs,
    storedEpochs: manifest.storedEpochs ?? epochs,
    samples,
    classes,
    labels,
    tokens,
    tau: manifest.tau,
    tauSchedule: manifest.tauSchedule ?? null,
    codec: manifest.codec,
    layout: manifest.layout,
    augmentation: manifest.augmentation,
    pruning: manifest.pruning ?? null,
    parts: partsOf(archive),
    teacher: manifest.teacher ?? null,
    images: manifest.images ?? null,
    provenance: manifest.provenance ?? null,
    shards: Array.from({ length: archive.shards.count }, (_, i) => {
      const { file, epochs: rows, samples: columns, bytes: size } = archive.shards.at(i);
      return { file, epochs: rows, samples: columns, bytes: size };
    }),
    bytes,
    ratio: {
      codes: (2 * labels * classes) / bytes.codes,
      total: (2 * labels * classes) / bytes.total,
    },
  };
}

/** Labels and tokens of an archive of texts; null for other archives. */
function textsOf({ codec, request }: Manifest) {
  if (codec.name !== TOKEN_CODEC && codec.name !== HIDDEN_CODEC) return null;
  const counted = isJsonObject(request?.tokens) ? request.tokens : {};
  return { labels: Number(counted.labels), tokens: Number(counted.tokens) };
}

/** Further epochs and samples, in folders. */
function partsOf({ manifest, parts }: LabelArchive) {
  return (manifest.parts ?? []).map(({ folder, epochs, samples = null }, i) => {
    const { manifest: own } = parts[i + 1];
    return {
      ...{ folder, epochs, samples, storedEpochs: own.storedEpochs ?? own.epochs, tau: own.tau },
      ...{ tauSchedule: own.tauSchedule ?? null, codec: own.codec, bytes: parts[i + 1].bytes() },
    };
  });
}

/** Labels as a product of what they are counted by. */
export function labelsInWords(facts: ArchiveFacts): string {
  const { epochs, storedEpochs: stored, samples, labels, pruning, tokens } = facts;
  if (tokens !== null) return `${labels} of ${samples} texts, ${tokens.tokens} tokens`;
  if (pruning === null) {
    const text = `${epochs} epochs x ${samples} samples = ${labels}`;
    return stored === epochs ? text : `${text}; ${stored} epochs stored, used in turn`;
  }
  const kept = `${epochs} batches of ${samples} kept`;
  return `${pruning.epochs} epochs x ${pruning.samples} samples = ${labels}, ${kept}`;
}

export function temperaturesInWords({
  tau,
  tauSchedule,
}: Pick<ArchiveFacts, 'tau' | 'tauSchedule'>): string {
  if (tauSchedule === null) return String(tau);
  return listed(
    tauSchedule.map(([epoch, value]) => `${Number(value.toPrecision(4))} from epoch ${epoch}`),
  );
}

/** Names of the first few of many. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ');
  return names.length <= 8 ? shown : `${shown} and ${names.length - 8} more`;
}

/** Arguments as JSON: they may be anything. */
export function madeBy(provenance: ArchiveFacts['provenance']): string {
  if (provenance === null) return 'not recorded';
  const { softpack, call, arguments: args, ...rest } = provenance;
  const also = Object.keys(rest).length === 0 ? [] : [JSON.stringify(rest)];
  const called = typeof call === 'string' ? [call, JSON.stringify(args ?? {})] : [];
  return [`softpack ${softpack}`, ...called, ...also].join(' ');
}
