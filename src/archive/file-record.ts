import type { FieldChecker } from '../core/check.js';
import type { JsonValue } from '../core/json.js';

/** A file as a manifest records it. */
export interface FileRecord {
  readonly file: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export function checkFileRecord(
  check: FieldChecker,
  value: JsonValue | undefined,
  field: string,
): FileRecord {
  const record = check.object(value, field);
  return {
    file: check.fileName(record.file, `${field}.file`),
    bytes: check.count(record.bytes, `${field}.bytes`, 0),
    sha256: check.digest(record.sha256, `${field}.sha256`),
  };
}
