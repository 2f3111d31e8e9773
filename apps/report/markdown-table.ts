export function markdownTable(
  headings: readonly string[],
  cells: readonly (readonly string[])[],
): string {
  const line = (row: readonly string[]) => `| ${row.join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...cells.map(line)].join('\n');
}
