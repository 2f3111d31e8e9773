import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const temporary = await temporaryDirectory();
const isThere = (shell: string) => spawnSync(shell, ['--version']).status === 0;

/** What a shell offers for a line that is typed so far, in a folder with the file `labels.npy`. */
const OFFERS: Readonly<Record<string, (script: string, words: readonly string[]) => string>> = {
  bash(script, words) {
    const list = words.map((word) => `'${word}'`).join(' ');
    // As readline does: the words and the place of the last one, then the function, then the fallback that it asked for.
    const call = `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _softpack; complete -p softpack
      if [ \${#COMPREPLY[@]} = 0 ]; then compgen -f -- '${words.at(-1)}'; else printf '%s\\n' "\${COMPREPLY[@]}"; fi`;
    return run('bash', ['--norc', '-c', `source ${script}; ${call}`]);
  },
  zsh(script, words) {
    // The completion system needs a line editor; its functions print what they would add instead.
    const list = words.map((word) => `'${word}'`).join(' ');
    const stubs = `compdef() { :; }; compadd() { shift; print -l -- "$@"; }; _files() { ls; }
      _describe() { print -l -- "\${(@P)2%%:*}"; }`;
    return run('zsh', [
      ...['-f', '-c'],
      `${stubs}; source ${script}; words=(${list}); CURRENT=${words.length}; _softpack`,
    ]);
  },
  fish(script, words) {
    const line = words.join(' ');
    return run('fish', ['--no-config', '-c', `source ${script}; complete -C '${line}'`]);
  },
};

function run(shell: string, args: readonly string[]): string {
  return execFileSync(shell, args, { cwd: temporary.path('files'), encoding: 'utf8' });
}

mkdirSync(temporary.path('files'));
writeFileSync(temporary.path('files/labels.npy'), '');

describe.each(Object.keys(OFFERS))('in %s', (shell) => {
  it('completes commands, options, choices and files', async ({ skip }) => {
    if (!isThere(shell)) skip(`no ${shell} is installed`);
    const { code, out } = await softpack(['completion', shell]);
    expect(code).toBe(0);
    const script = temporary.path(`completion.${shell}`);
    writeFileSync(script, out);
    const offers = (...words: readonly string[]) =>
      OFFERS[shell](script, words)
        .split('\n')
        .map((line) => line.split('\t')[0]);
    const commands = offers('softpack', '');
    for (const name of ['pack', 'cat', 'tokens', 'completion']) expect(commands).toContain(name);
    expect(offers('softpack', 'tokens', '')).toContain('label');
    expect(offers('softpack', 'tokens', '')).not.toContain('cat');
    expect(offers('softpack', 'pack', '--')).toContain('--ratio');
    expect(offers('softpack', 'pack', '--')).not.toContain('--epoch');
    // An alias has the options of its command.
    expect(offers('softpack', 'tokens', 'pack', '--')).toContain('--vocabulary');
    expect(offers('softpack', 'pack', 'logits.npy', '--codec', '')).toContain('transform');
    expect(offers('softpack', 'pack', '')).toContain('labels.npy');
    expect(offers('softpack', 'cat', '--out', '')).toContain('labels.npy');
  });
});

it('knows no other shells', async () => {
  expect((await softpack(['completion', 'csh'])).code).toBe(2);
});
