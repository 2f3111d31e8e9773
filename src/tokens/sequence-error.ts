import { SoftpackError } from '../errors.js';

/** For bytes of a block that no encoder writes. */
export function invalidCodes(expected: string, found: unknown): SoftpackError {
  const details = { field: 'codes', expected, found };
  return new SoftpackError('INVALID_ARGUMENT', 'not a sequence of labels', details);
}
