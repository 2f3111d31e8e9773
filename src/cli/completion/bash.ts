import { quoted } from '../shell-quote.js';
import { type CompletedCommand, optionPattern, pathCases } from './tree.js';

/** Where it offers nothing of its own, bash completes files. */
export function bashCompletion(commands: readonly CompletedCommand[]): string {
  const values = commands.flatMap(({ path, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .map((option) => {
        const offer = option.choices.length === 0 ? '' : reply(option.choices);
        return `    ${optionPattern(path, option)}) ${offer}return ;;`;
      }),
  );
  const offered = (words: (command: CompletedCommand) => readonly string[]) =>
    commands
      .filter((command) => words(command).length > 0)
      .map((command) => `      ${quoted(command.path)}) ${reply(words(command)).trim()} ;;`);
  return `# Completion of softpack in bash: eval "$(softpack completion bash)"
_softpack() {
  local cur=\${COMP_WORDS[COMP_CWORD]} at= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
${pathCases(commands)
  .map((line) => `      ${line}`)
  .join('\n')}
    esac
  done
  case "$at \${COMP_WORDS[COMP_CWORD - 1]}" in
${values.join('\n')}
  esac
  if [[ $cur == -* ]]; then
    case "$at" in
${offered(({ options }) => options.map(({ name }) => `--${name}`)).join('\n')}
    esac
  else
    case "$at" in
${offered((command) => command.commands.map(({ name }) => name)).join('\n')}
    esac
  fi
}
complete -o default -F _softpack softpack
`;
}

function reply(words: readonly string[]): string {
  return `COMPREPLY=($(compgen -W ${quoted(words.join(' '))} -- "$cur")); `;
}
