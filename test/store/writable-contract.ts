import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import type { ByteStore } from '#src/store/byte-store.js';
import { PART_BYTES, type WritableStore } from '#src/store/writable-store.js';
import { noise } from './web-server.js';

/** What any store that is written to must do; each is held to it by its own test. */
export const CONTRACT: Readonly<Record<string, (store: WritableStore) => Promise<void>>> = {
  async 'shows what is put, replaced and deleted'(store) {
    expect(await store.list()).toEqual([]);
    await store.put('b', Uint8Array.of(1, 2));
    await store.put('a', new Uint8Array(0));
    await store.put('b', Uint8Array.of(3));
    expect([...(await store.list())].sort()).toEqual(['a', 'b']);
    expect(await store.list('b')).toEqual(['b']);
    expect(await store.list('c')).toEqual([]);
    expect(await contentOf(store, 'b')).toEqual(Buffer.of(3));
    expect(await contentOf(store, 'a')).toEqual(Buffer.of());
    await store.delete('a');
    await store.delete('a');
    expect(await store.list()).toEqual(['b']);
    await expect(store.open('a')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await store.delete('b');
  },

  async 'lets one of many writers be the first'(store) {
    const writers = [0, 1, 2, 3].map((i) => Uint8Array.of(i, i));
    const won = await Promise.all(writers.map((bytes) => store.putIfAbsent('claim', bytes)));
    expect(won.filter((first) => first).length).toBe(1);
    expect(await contentOf(store, 'claim')).toEqual(Buffer.from(writers[won.indexOf(true)]));
    expect(await store.putIfAbsent('claim', Uint8Array.of(9))).toBe(false);
    await store.delete('claim');
    expect(await store.putIfAbsent('claim', Uint8Array.of(9))).toBe(true);
    expect(await store.list()).toEqual(['claim']);
    await store.delete('claim');
  },

  async 'lets files that come in parts be the first, once they are whole'(store) {
    const bytes = Buffer.from(noise(PART_BYTES + 3));
    let shown: readonly string[] | undefined;
    async function* parts(end?: Error) {
      yield* partsOf(bytes);
      shown = await store.list();
      if (end !== undefined) throw end;
    }
    const broken = store.putIfAbsent('parts', parts(new Error('source broke off')));
    await expect(broken).rejects.toThrow('source broke off');
    expect(await store.list()).toEqual([]);
    expect(await store.putIfAbsent('parts', parts())).toBe(true);
    expect(shown).toEqual([]);
    expect((await contentOf(store, 'parts')).equals(bytes)).toBe(true);
    expect(await store.putIfAbsent('parts', partsOf(Buffer.of(1)))).toBe(false);
    expect((await contentOf(store, 'parts')).equals(bytes)).toBe(true);
    expect(await store.putIfAbsent('none', partsOf(Buffer.of()))).toBe(true);
    expect(await contentOf(store, 'none')).toEqual(Buffer.of());
    for (const key of ['parts', 'none']) await store.delete(key);
  },

  async 'writes large files from parts, with their hash'(store) {
    for (const size of [0, 10, 2 * PART_BYTES + 5]) {
      const bytes = Buffer.from(noise(size));
      await store.putParts('large', size, partsOf(bytes), { sha256: hashOf(bytes) });
      expect((await contentOf(store, 'large')).equals(bytes)).toBe(true);
      expect(await store.sha256Of('large')).toBe(hashOf(bytes));
    }
    expect(await store.sha256Of('none')).toBeUndefined();
  },

  async 'keeps what was there if the parts of another file fail'(store) {
    const before = await contentOf(store, 'large');
    async function* broken() {
      yield new Uint8Array(PART_BYTES);
      yield new Uint8Array(PART_BYTES);
      throw new Error('source broke off');
    }
    const put = store.putParts('large', 3 * PART_BYTES, broken(), { sha256: 'x' });
    await expect(put).rejects.toThrow('source broke off');
    expect((await contentOf(store, 'large')).equals(before)).toBe(true);
    expect(await store.list()).toEqual(['large']);
    await store.delete('large');
  },

  async 'refuses names that are no plain files, and stops where it is told'(store) {
    for (const key of ['../x', 'a/b', '', '.']) {
      await expect(store.put(key, new Uint8Array(1))).rejects.toMatchObject({ field: 'key' });
      await expect(store.delete(key)).rejects.toMatchObject({ field: 'key' });
    }
    const signal = AbortSignal.abort();
    const put = store.put('stopped', new Uint8Array(1), { signal });
    await expect(put).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await store.list()).toEqual([]);
  },
};

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function* partsOf(bytes: Buffer) {
  for (let at = 0; at < bytes.length; at += PART_BYTES) {
    yield Uint8Array.from(bytes.subarray(at, at + PART_BYTES));
  }
}

export async function contentOf(store: ByteStore, key: string): Promise<Buffer<ArrayBuffer>> {
  const file = await store.open(key);
  const bytes = Buffer.alloc(file.size);
  await file.read(0, bytes);
  await file.close();
  return bytes;
}
