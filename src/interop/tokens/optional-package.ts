import { errorMessage, SoftpackError } from '../../errors.js';

/**
 * A package that softpack does not depend on. `TOOL_MISSING` saying what to type if it is not installed.
 *
 * @param purpose what needs it, e.g. `Parquet files`.
 */
export async function optionalPackage<T>(name: string, purpose: string): Promise<T> {
  try {
    // Not named in `import` itself: types of an optional package are not at hand.
    return (await import(name)) as T;
  } catch (cause) {
    const reason = errorMessage(cause).split('\n')[0];
    const message = `${purpose} need ${name}: ${reason}; npm install ${name}`;
    throw new SoftpackError('TOOL_MISSING', message, { field: name, cause });
  }
}
