import { nameIn } from './address.js';
import type { ByteStore } from './byte-store.js';

/** A folder of a store as a store of its own. */
export function subStore(store: ByteStore, folder: string): ByteStore {
  return {
    name: nameIn(store.name, folder),
    open: (key, options) => store.open(`${folder}/${key}`, options),
  };
}
