import { quoted } from '../shell-quote.js';
import { type CompletedCommand, type Described, optionPattern, pathCases } from './tree.js';

export function zshCompletion(commands: readonly CompletedCommand[]): string {
  const values = commands.flatMap(({ path, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .map((option) => {
        const { choices } = option;
        const offer =
          choices.length === 0 ? '_files' : `compadd -- ${choices.map(quoted).join(' ')}`;
        return `    ${optionPattern(path, option)}) ${offer}; return ;;`;
      }),
  );
  const offered = (words: (command: CompletedCommand) => readonly Described[]) =>
    commands
      .filter((command) => words(command).length > 0)
      .map((command) => `      ${quoted(command.path)}) known=(${described(words(command))}) ;;`);
  return `#compdef softpack
# Completion of softpack in zsh, after compinit: eval "$(softpack completion zsh)"
_softpack() {
  local at= word
  local -a known
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in
${pathCases(commands)
  .map((line) => `      ${line}`)
  .join('\n')}
    esac
  done
  case "$at \${words[CURRENT-1]}" in
${values.join('\n')}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    case "$at" in
${offered(({ options }) => options.map((one) => ({ ...one, name: `--${one.name}` }))).join('\n')}
    esac
  else
    case "$at" in
${offered((command) => command.commands).join('\n')}
    esac
  fi
  if (( $#known )); then _describe softpack known; else _files; fi
}
compdef _softpack softpack
`;
}

function described(words: readonly Described[]): string {
  return words
    .map(({ name, description }) => quoted(`${name}:${description.replaceAll(':', '\\:')}`))
    .join(' ');
}
