import { SoftpackError } from '../errors.js';

/** Addresses of stores, and names for error messages that show no secret of theirs. */

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;

/** The scheme of an address in lower case, e.g. `https`; undefined for a path. */
export function schemeOf(text: string): string | undefined {
  return SCHEME.exec(text)?.[1]?.toLowerCase();
}

/**
 * An address for messages. Passwords and queries stay out: signed addresses carry their signature in the query.
 */
export function shownAddress({ protocol, host, pathname, search }: URL): string {
  return `${protocol}//${host}${pathname}${search === '' ? '' : '?...'}`;
}

/** The name of a file in a store, by the names of both: `join` would spoil the slashes of an address. */
export function nameIn(store: string, key: string): string {
  if (store === '' || store.endsWith('/')) return `${store}${key}`;
  return `${store}/${key}`;
}

/** `INVALID_ARGUMENT`, without the text itself, if it is no address. */
export function parseAddress(text: string): URL {
  try {
    return new URL(text);
  } catch {
    // Neither the text nor the cause, which holds it: there may be a password in it.
    const details = { field: 'address', expected: 'one like https://host/folder' };
    throw new SoftpackError('INVALID_ARGUMENT', 'not an address', details);
  }
}
