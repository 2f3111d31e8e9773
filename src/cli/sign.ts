import type { Command } from 'commander';
import { MAX_KEY_BYTES, signArchive } from '../container/signature.js';
import { readLocalFile } from '../store/local.js';

export function addSign(program: Command): void {
  program
    .command('sign')
    .description('Sign a finished archive or packed images, for verify --key.')
    .argument('<dir>', 'folder')
    .requiredOption('--key <file>', 'private Ed25519 key (PEM; openssl genpkey -algorithm ed25519)')
    .action(async (dir: string, { key }: { readonly key: string }) => {
      await signArchive(dir, await readLocalFile(key, MAX_KEY_BYTES));
    });
}
