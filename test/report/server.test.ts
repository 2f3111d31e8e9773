import { request } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { openArchive } from '#src/pipeline/open-archive.js';
import type { ShownLabel } from '#src/report/shown-label.js';
import { softpack } from '../cli/softpack.js';
import { EPOCHS, SAMPLES, trainCodec, writeArchive } from '../loader/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const packed = directory.path('packed');
beforeAll(async () => {
  await (await writeArchive(packed, await trainCodec())).close();
});

/** Runs `view` while `work` asks it, then stops it as Ctrl-C does. */
async function served(work: (url: URL) => Promise<void>): Promise<number> {
  const stop = new AbortController();
  let started: (url: URL) => void = () => {};
  const url = new Promise<URL>((resolve) => {
    started = resolve;
  });
  const { run } = await import('#src/cli/run.js');
  let out = '';
  const stdout = {
    write(text: string) {
      out += text;
      const [found] = /http:\S+/.exec(out) ?? [];
      if (found !== undefined) started(new URL(found));
    },
  };
  const stderr = { write: (text: string) => expect(text).toBe('') };
  const ended = run(['view', packed], { stdout, stderr, signal: stop.signal });
  try {
    await work(await url);
  } finally {
    stop.abort();
  }
  return ended;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly allow?: string;
  readonly body: string;
}

/** `fetch` would tidy up paths and hosts. */
function ask(url: URL, path: string, { method = 'GET', host = url.host } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = url;
    const asked = request({ hostname, port, path, method, headers: { host } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => {
        const type = response.headers['content-type'] ?? '';
        const { allow } = response.headers;
        resolve({ status: response.statusCode ?? 0, type, allow, body });
      });
    });
    asked.on('error', reject).end();
  });
}

describe('a served archive', () => {
  it('gives every label by epoch and sample, and ends when it is stopped', async () => {
    const code = await served(async (url) => {
      expect(url.hostname).toBe('127.0.0.1');
      const page = await ask(url, '/');
      expect(page).toMatchObject({ status: 200, type: 'text/html; charset=utf-8' });
      expect(page.body).toContain('id="browse"');
      const last = SAMPLES - 5;
      const answer = await ask(url, `/labels.json?row=${EPOCHS - 1}&start=${last}&count=24`);
      const { labels } = JSON.parse(answer.body) as { readonly labels: readonly ShownLabel[] };
      expect(labels.map(({ position }) => position)).toEqual([0, 1, 2, 3, 4].map((i) => last + i));
      await using archive = await openArchive(packed);
      for (const { row, position, classes } of labels) {
        expect(row).toBe(EPOCHS - 1);
        const label = await archive.labels(row, { start: position, count: 1 });
        const [{ name, decoded }] = classes;
        expect(name).toBe(`class ${label.indexOf(Math.max(...label))}`);
        expect(decoded).toBeCloseTo(Math.log(Math.max(...label)), 6);
      }
    });
    expect(code).toBe(0);
  });

  it('answers no other site, no other method and no path of a file', async () => {
    await served(async (url) => {
      for (const host of ['evil.example', `evil.example:${url.port}`, '127.0.0.1']) {
        expect(await ask(url, '/', { host })).toMatchObject({ status: 403 });
      }
      expect((await ask(url, '/', { host: `localhost:${url.port}` })).status).toBe(200);
      for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
        expect(await ask(url, '/', { method })).toMatchObject({ status: 405, allow: 'GET, HEAD' });
      }
      const paths = ['/../../etc/passwd', '/%2e%2e/package.json', '//etc/passwd', '/manifest.json'];
      for (const path of paths) expect((await ask(url, path)).status).toBe(404);
      expect((await ask(url, '//[')).status).toBe(400);
    });
  });

  it('refuses labels that are not there, and requests that are none', async () => {
    const queries = [
      '',
      'row=0&start=0',
      `row=${EPOCHS}&start=0&count=1`,
      'row=-1&start=0&count=1',
      'row=0&start=1e9&count=1',
      `row=0&start=${SAMPLES}&count=1`,
      'row=0&start=0&count=100000',
      'row=0x1&start=0&count=1',
    ];
    await served(async (url) => {
      for (const query of queries) {
        const { status, body } = await ask(url, `/labels.json?${query}`);
        expect([query, status]).toEqual([query, 400]);
        expect(JSON.parse(body)).toHaveProperty('error');
      }
      expect((await ask(url, '/texts.json?start=0&count=1')).status).toBe(400);
    });
  });

  it('says that a port is in use', async () => {
    await served(async (url) => {
      const { code, err } = await softpack(['view', packed, '--port', url.port]);
      expect(code).toBe(2);
      expect(err).toContain('this port is in use');
      const none = await softpack(['view', packed, '--port', '65536']);
      expect(none).toMatchObject({ code: 2, err: expect.stringContaining('port') });
      expect(none.err).not.toContain('unexpected');
    });
  });
});
