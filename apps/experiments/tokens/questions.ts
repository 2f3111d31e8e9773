import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';

/** Longest question that is asked, letters. */
const LONGEST = 200;

/** First lines of the conversations of a folder's YAML files, each once, in an order that mixes the files. */
export async function questionsOf(folder: string): Promise<string[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yml')).sort();
  const found = new Set<string>();
  for (const name of files) {
    const text = await readFile(join(folder, name), 'utf8');
    for (const [, line] of text.matchAll(/^ *- - *(\S.*?) *\r?$/gm)) {
      const question = line.replace(/^(['"])(.*)\1$/, '$2');
      if (question.length <= LONGEST) found.add(question);
    }
  }
  const all = [...found];
  const order = new RandomSequence(0, STREAM.answers).distinct(all.length, all.length);
  return Array.from(order, (i) => all[i]);
}
