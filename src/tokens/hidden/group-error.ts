import { SoftpackError } from '../../errors.js';

/** The error of bytes of a group that no encoder writes. */
export function invalidGroup(expected: string, found: unknown): SoftpackError {
  const details = { field: 'codes', expected, found };
  return new SoftpackError('INVALID_ARGUMENT', 'not hidden states of this codec', details);
}
