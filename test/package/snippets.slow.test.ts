import { execFile } from 'node:child_process';
import { cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { beforeAll, expect, it } from 'vitest';
import { NpyWriter } from '#src/labels/npy.js';
import { packLogits } from '#src/pipeline/pack.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import type { TokenSource } from '#src/tokens/token-source.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { testTeacher } from '../tokens/sources.js';
import { programOf, ROOT, snippets } from './snippets.js';

// Programs that the documents print, as one who types them in an own folder runs them.

const folder = await temporaryDirectory();
const at = (path: string) => folder.path(path);
const run = promisify(execFile);

beforeAll(async () => {
  await mkdir(at('node_modules/@tensorflow'), { recursive: true });
  await writeFile(at('package.json'), '{ "type": "module" }');
  await symlink(ROOT, at('node_modules/softpack'));
  for (const name of ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm']) {
    await symlink(join(ROOT, 'node_modules', name), at(`node_modules/${name}`));
  }
  await run(process.execPath, [join(ROOT, 'examples/make-data.mjs'), at('.')]);
  for (const part of ['train', 'test'])
    await cp(at('images'), at(`photos/${part}`), { recursive: true });
  {
    await using writer = await NpyWriter.create(at('logits.npy'), [40, 200, 100]);
    await writer.write(syntheticLogits(8000, 100));
    await writer.finish();
  }
  await packLogits({
    ...{ source: at('labels.softpack'), out: at('pruned.softpack') },
    ...{ codec: { name: 'topk', k: 2 }, prune: { ratio: 2, batchSize: 16 } },
  });
  await cp(join(ROOT, 'test/nn/models/resnet-basic.pth'), at('checkpoint.pth'));
  const { source } = testTeacher({ vocabulary: 300, lengths: [700, 90] });
  await packTokens({
    source: labelledButLast(source),
    out: at('labels'),
    codec: { name: 'head-tail' },
  });
});

/** No label of a text's last token, as what follows it is unknown. */
function labelledButLast(source: TokenSource): TokenSource {
  return {
    ...source,
    async *sequences() {
      for await (const text of source.sequences()) yield { ...text, rows: text.rows - 1 };
    },
  };
}

const runnable = snippets().filter(
  ({ language, notRun }) => /^(?:js|ts)$/.test(language) && notRun === undefined,
);

it.each(runnable)(
  '$at runs',
  async (snippet) => {
    const file = at(`${snippet.at.replace(/\W/g, '-')}.mjs`);
    const { outputText } = ts.transpileModule(programOf(snippet), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    await writeFile(file, outputText);
    // A program that does not end by itself has something that it did not close.
    const { stdout, stderr } = await run(process.execPath, [file], {
      ...{ cwd: at('.'), timeout: 110_000 },
      env: { ...process.env, SOFTPACK_TENSORFLOW_DIR: at('none') },
    });
    expect(stderr).not.toMatch(/error/i);
    if (snippet.at.startsWith('README.md') && stdout.includes('test images right')) {
      // Six colours: a student that learnt anything is right more often than by chance.
      expect(Number.parseInt(stdout, 10)).toBeGreaterThan(96 / 6 + 16);
    }
  },
  120_000,
);
