import type { CompletedCommand, CompletedOption } from './tree.js';

export function fishCompletion(commands: readonly CompletedCommand[]): string {
  const cases = commands
    .filter(({ path }) => path !== '')
    .map(({ path, aliases }) => {
      const words = [path, ...aliases].map((one) => quoted(one.includes(' ') ? one : ` ${one}`));
      return `      case ${words.join(' ')}\n        set at ${quoted(path)}`;
    });
  const lines = commands.flatMap(({ path, commands: below, options }) => {
    const here = `complete -c softpack -n ${quoted(`__softpack_at ${quoted(path)}`)}`;
    return [
      ...below.map(({ name, description }) => `${here} -f -a ${name} -d ${quoted(description)}`),
      ...options.map((option) => `${here} ${flagsOf(option)} -d ${quoted(option.description)}`),
    ];
  });
  return `# Completion of softpack in fish: softpack completion fish | source
function __softpack_at
  set -l at ''
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
${cases.join('\n')}
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join('\n')}
`;
}

function flagsOf({ name, short, takesValue, choices }: CompletedOption): string {
  const words = [`-l ${name}`, ...(short === undefined ? [] : [`-s ${short}`])];
  if (choices.length > 0) words.push(`-x -a ${quoted(choices.join(' '))}`);
  else if (takesValue) words.push('-r');
  return words.join(' ');
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
