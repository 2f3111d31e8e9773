import { errorCode, errorMessage, isSoftpackError, SoftpackError } from '../errors.js';

/**
 * A package that softpack does not depend on, loaded when a task needs it.
 *
 * @param purpose what needs it, in the plural, e.g. `Parquet files`.
 * @param load imports it, or a module that does. By default the package itself; it is not named in `import` then, as types of
 *   an optional package are not at hand.
 * @throws `TOOL_MISSING` saying what to type if it is not installed or cannot be loaded.
 */
export async function optionalPackage<T>(
  name: string,
  purpose: string,
  load: () => Promise<T> = () => import(name) as Promise<T>,
): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    if (isSoftpackError(cause)) throw cause;
    const message = `${purpose} need ${name}, ${whyUnusable(cause)}: npm install ${name}`;
    throw new SoftpackError('TOOL_MISSING', message, { field: name, cause });
  }
}

/** What is wrong with a package whose import failed. */
export function whyUnusable(cause: unknown): string {
  const [first] = errorMessage(cause).split('\n');
  const missing = /MODULE_NOT_FOUND$/.test(errorCode(cause) ?? '');
  return missing ? 'which is not installed' : `which does not load (${first})`;
}
