import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { packageFile } from '../core/package-files.js';

/** Pages are whole in themselves: style, scripts and data are inside, and nothing else may be fetched. */

/** A script or style of pages. */
export function readAsset(name: string): string {
  return readFileSync(packageFile(`assets/report/${name}`), 'utf8');
}

export interface Page {
  readonly title: string;
  /** HTML of the page's main part. */
  readonly body: string;
  /** Read by the scripts. */
  readonly data?: unknown;
  readonly scripts?: readonly string[];
  /** Whether scripts may ask the server that the page came from. */
  readonly live?: boolean;
}

export function htmlPage({ title, body, data, scripts = [], live = false }: Page): string {
  const elements = scripts.map((script) => `<script>${script}</script>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policyOf(scripts, live)}">
<title>${escapeHtml(title)}</title>
<style>${readAsset('page.css')}</style>
</head>
<body>
<main>
${body}
</main>
${data === undefined ? '' : `<script type="application/json" id="data">${embeddedJson(data)}</script>`}
${elements.join('\n')}
</body>
</html>
`;
}

/**
 * Only these scripts run, whatever the data say. Vega compiles the expressions of charts, which are the page's own, by
 * `Function`.
 */
function policyOf(scripts: readonly string[], live: boolean): string {
  const hashes = scripts.map(
    (script) => `'sha256-${createHash('sha256').update(script).digest('base64')}'`,
  );
  const allowed = scripts.length === 0 ? "'none'" : `${hashes.join(' ')} 'unsafe-eval'`;
  const fetched = live ? "; connect-src 'self'" : '';
  return `default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; script-src ${allowed}${fetched}`;
}

/** JSON inside of a script element: nothing in it can end the element or begin a comment. */
function embeddedJson(data: unknown): string {
  return JSON.stringify(data).replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => entities[character]);
}

/** A table that scrolls within its own width. The last cell of a row, its result, stays in sight. */
export function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: 'td' | 'th', texts: readonly string[]) =>
    texts.map((text) => `<${tag}>${escapeHtml(text)}</${tag}>`).join('');
  const body = rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n');
  return `<div class="wide" tabindex="0"><table class="data"><thead><tr>${cells('th', head)}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** Names and values, a line each. @param kind `results` are as wide as their figures. */
export function factsTable(
  rows: readonly (readonly [name: string, value: string])[],
  kind: 'facts' | 'results' = 'facts',
): string {
  const lines = rows.map(
    ([name, value]) =>
      `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`,
  );
  return `<table class="${kind}">${lines.join('\n')}</table>`;
}
