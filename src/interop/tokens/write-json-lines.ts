import { syncFile } from '../../store/sync-file.js';
import type { NewFolder } from '../exports/folder.js';

/** Writes values as the lines of a new file of the folder, one in memory at a time. Returns their number. */
export async function writeJsonLines(
  folder: NewFolder,
  name: string,
  values: AsyncIterable<object>,
): Promise<number> {
  const file = await folder.open(name);
  try {
    let [at, count] = [0, 0];
    for await (const value of values) {
      const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
      await folder.append(file, bytes, at);
      at += bytes.length;
      count += 1;
    }
    await syncFile(file);
    return count;
  } finally {
    await file.close();
  }
}
