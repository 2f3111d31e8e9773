/** In single quotes, as one word of bash, zsh and sh. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
