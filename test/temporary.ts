import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** Names of fresh files and directories, removed after the test file has run. */
export interface TemporaryDirectory {
  path(name: string): string;
  /** Writes bytes to a new file and gives its path. */
  file(name: string, bytes: Uint8Array | string): Promise<string>;
}

export async function temporaryDirectory(): Promise<TemporaryDirectory> {
  const root = await mkdtemp(join(tmpdir(), 'softpack-test-'));
  afterAll(() => rm(root, { recursive: true }));
  const path = (name: string) => join(root, name);
  return {
    path,
    async file(name, bytes) {
      await writeFile(path(name), bytes);
      return path(name);
    },
  };
}
