import { sha256 } from '../../container/checksum.js';
import { MAX_SHARDS } from '../../container/shard-file.js';
import { FieldChecker } from '../../core/check.js';
import {
  canonicalJson,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  parseJson,
} from '../../core/json.js';
import { MAX_SIDE } from '../../core/limits.js';
import { invalidFile, SoftpackError } from '../../errors.js';

/**
 * The manifest of a packed image file: a directory of safetensors shards with the archive's checksums, written
 * last, so that its presence marks a complete directory.
 */

export const IMAGES_FORMAT = 'softpack images';
const IMAGES_VERSION = 1;
/** Sample ids are 32-bit. */
const MAX_COUNT = 2 ** 32 - 1;
/** Bytes per sample in a shard's tables: start, height and width, class. */
const TABLE_BYTES = 20;

/** Encoding of an image's bytes: plain pixels, or a JPEG. */
export type ImageEncoding = 'raw' | 'jpeg';

export interface ImageShardRecord {
  readonly file: string;
  readonly bytes: number;
  /** Hex, of the whole file. */
  readonly sha256: string;
  /** Hex, of header and block checksums, which must be trusted before a block can be verified. */
  readonly indexSha256: string;
  /** [first, after the last]. */
  readonly samples: readonly [number, number];
}

export interface ImagesManifest {
  readonly format: typeof IMAGES_FORMAT;
  readonly version: number;
  readonly minReader: number;
  /** sha256 of everything below, hex. */
  readonly imagesId: string;
  readonly count: number;
  readonly encoding: ImageEncoding;
  /** Id of the packed files if decoding gives their exact pixels; null if JPEGs were encoded again. */
  readonly sourceId: string | null;
  /** Tells the packed files from others under the same names; absent from packs of earlier versions. */
  readonly fingerprint?: JsonObject;
  /** Height and width if all images share them. */
  readonly size: readonly [number, number] | null;
  readonly classNames?: readonly string[];
  /** In order of samples. */
  readonly shards: readonly ImageShardRecord[];
}

type ImagesContent = Omit<ImagesManifest, 'format' | 'version' | 'minReader' | 'imagesId'>;

export function makeImagesManifest(content: ImagesContent): ImagesManifest {
  return {
    format: IMAGES_FORMAT,
    version: IMAGES_VERSION,
    minReader: IMAGES_VERSION,
    imagesId: imagesIdOf(content),
    ...content,
  };
}

function imagesIdOf(images: ImagesContent): string {
  const { count, encoding, sourceId, fingerprint, size, classNames, shards } = images;
  const content = { count, encoding, sourceId, fingerprint, size, classNames, shards };
  return sha256(Buffer.from(JSON.stringify(canonicalJson(content, 'images'))));
}

/** Whether a manifest says that it is one of packed images, rather than an archive's. */
export function isImagesManifest(bytes: Uint8Array): boolean {
  try {
    const json = parseJson(IMAGES_FORMAT, 'content', bytes);
    return isJsonObject(json) && json.format === IMAGES_FORMAT;
  } catch {
    return false;
  }
}

/**
 * Reads an untrusted manifest. `UNSUPPORTED` if it asks for a newer reader, `INVALID_FILE` naming the field that is
 * wrong, `CORRUPT_DATA` if its id does not match.
 */
export function parseImagesManifest(file: string, bytes: Uint8Array): ImagesManifest {
  const json = parseJson(file, 'content', bytes);
  if (!isJsonObject(json)) throw invalidFile(file, 'content', 'not an object', { found: json });
  const check = new FieldChecker(file, 'INVALID_FILE');
  check.that(json.format === IMAGES_FORMAT, json.format, 'format', IMAGES_FORMAT);
  const minReader = check.count(json.minReader, 'minReader', 1);
  if (minReader > IMAGES_VERSION) {
    throw new SoftpackError('UNSUPPORTED', 'packed images need a newer reader', {
      field: `${file}: minReader`,
      expected: `at most ${IMAGES_VERSION}`,
      found: minReader,
    });
  }
  const { encoding, classNames, fingerprint } = json;
  check.that(encoding === 'raw' || encoding === 'jpeg', encoding, 'encoding', 'raw or jpeg');
  const count = check.count(json.count, 'count', 1, MAX_COUNT);
  const content: ImagesContent = {
    count,
    encoding: encoding as ImageEncoding,
    sourceId: json.sourceId === null ? null : check.digest(json.sourceId, 'sourceId'),
    ...(fingerprint === undefined ? {} : { fingerprint: check.object(fingerprint, 'fingerprint') }),
    size: json.size === null ? null : checkSize(check, json.size),
    ...(classNames === undefined ? {} : { classNames: check.texts(classNames, 'classNames') }),
    shards: checkShards(check, json.shards, count),
  };
  const manifest = {
    format: IMAGES_FORMAT,
    version: check.count(json.version, 'version', 1),
    minReader,
    imagesId: check.digest(json.imagesId, 'imagesId'),
    ...content,
  } as const;
  const found = imagesIdOf(content);
  if (found === manifest.imagesId) return manifest;
  throw new SoftpackError('CORRUPT_DATA', 'manifest was changed after it was written', {
    field: `${file}: imagesId`,
    expected: manifest.imagesId,
    found,
  });
}

function checkSize(check: FieldChecker, value: JsonValue | undefined): readonly [number, number] {
  const sides = check.list(value, 'size').map((side) => check.count(side, 'size', 1));
  const valid = sides.length === 2 && sides.every((side) => side <= MAX_SIDE);
  check.that(valid, value, 'size', `height and width, at most ${MAX_SIDE}`);
  return [sides[0], sides[1]];
}

/** Shards must follow each other without gap or overlap, from the first sample to the last. */
function checkShards(
  check: FieldChecker,
  value: JsonValue | undefined,
  count: number,
): readonly ImageShardRecord[] {
  const list = check.list(value, 'shards');
  check.that(list.length <= MAX_SHARDS, list.length, 'shards', `at most ${MAX_SHARDS}`);
  let next = 0;
  const shards = list.map((item, i) => {
    const at = `shards[${i}]`;
    const shard = check.object(item, at);
    const [begin, end] = check.range(shard.samples, `${at}.samples`);
    check.that(begin === next && end <= count, [begin, end], `${at}.samples`, `from ${next} on`);
    next = end;
    return {
      file: check.fileName(shard.file, `${at}.file`),
      bytes: check.count(shard.bytes, `${at}.bytes`, TABLE_BYTES * (end - begin)),
      sha256: check.digest(shard.sha256, `${at}.sha256`),
      indexSha256: check.digest(shard.indexSha256, `${at}.indexSha256`),
      samples: [begin, end] as const,
    };
  });
  check.that(next === count, next, 'shards', `all of ${count} samples`);
  check.that(
    new Set(shards.map(({ file }) => file)).size === shards.length,
    shards.length,
    'shards',
    'files of their own',
  );
  return shards;
}
