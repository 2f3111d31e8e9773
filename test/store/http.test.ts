import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { openArchive } from '#src/pipeline/open-archive.js';
import { httpStore } from '#src/store/http.js';
import { openStore } from '#src/store/open-store.js';
import { temporaryDirectory } from '../temporary.js';
import { type Misbehaviour, noise, WebServer } from './web-server.js';

const directory = await temporaryDirectory();
const web = await WebServer.start();
beforeEach(() => web.reset());

/** Larger than what is read with the opening. */
const FILE = noise(300_000);
web.files.set('folder/file', FILE);
const FAST = { retries: 3, backoffMs: 1 } as const;

/** Reads a range across the end of what came with the opening. */
async function read(address = `${web.url}/folder`, options: object = {}, offset = 60_000) {
  const file = await httpStore(address, { ...FAST, ...options }).open('file');
  const into = new Uint8Array(200_000);
  await file.read(offset, into);
  return into;
}

const WANTED = FILE.slice(60_000, 260_000);

/** `toEqual` takes a third of a second for this many bytes. */
async function expectWanted(found: Promise<Uint8Array>) {
  expect(Buffer.compare(await found, WANTED)).toBe(0);
}

/** Only answers to requests after the first one, which opens the file. */
const later =
  (misbehave: Misbehaviour): Misbehaviour =>
  (asked, response) =>
    asked.index > 0 && misbehave(asked, response);

it('opens archives on a web server, and gives the rows of the folder', async () => {
  const folder = fileURLToPath(new URL('../golden/archives/vqae', import.meta.url));
  for (const name of readdirSync(folder)) {
    web.files.set(`labels/a b/${name}`, readFileSync(`${folder}/${name}`));
  }
  await using local = await openArchive(folder);
  await using remote = await openArchive(`${web.url}/labels/a%20b/`);
  expect(remote.id).toBe(local.id);
  for (let epoch = 0; epoch < local.epochs; epoch++) {
    expect(await remote.readRow(epoch)).toEqual(await local.readRow(epoch));
  }
  await remote.verify();
  expect(remote.fileOf(0)).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/labels\/a%20b\/codes-/);
  await expect(openArchive(`${web.url}/nothing`)).rejects.toMatchObject({ code: 'INCOMPLETE' });
});

it('reads ranges with one request each, the first bytes with the opening', async () => {
  const file = await httpStore(`${web.url}/folder`).open('file');
  expect(file).toMatchObject({ name: `${web.url}/folder/file`, size: 300_000 });
  const into = new Uint8Array(new SharedArrayBuffer(1000), 100, 500);
  await file.read(32_000, into);
  expect(into).toEqual(new Uint8Array(FILE.subarray(32_000, 32_500)));
  expect(web.asked.length).toBe(1);
  await file.read(299_500, into);
  expect([...into]).toEqual([...FILE.subarray(299_500)]);
  await file.read(300_000, new Uint8Array(0));
  expect(web.asked.length).toBe(2);
  expect(web.asked[1]?.headers).toMatchObject({
    range: 'bytes=299500-299999',
    'if-match': '"one"',
  });
  await expect(file.read(299_501, into)).rejects.toMatchObject({ code: 'INVALID_FILE' });
  expect(web.asked.length).toBe(2);
});

it('opens empty files, and files of one byte', async () => {
  web.files.set('empty', new Uint8Array(0));
  web.files.set('one', Uint8Array.of(7));
  const store = httpStore(web.url, FAST);
  expect((await store.open('empty')).size).toBe(0);
  const one = new Uint8Array(1);
  await (await store.open('one')).read(0, one);
  expect([...one]).toEqual([7]);
  web.misbehave = (_, response) => {
    response.writeHead(200, { 'content-length': '0' }).end();
    return true;
  };
  expect((await store.open('empty')).size).toBe(0);
});

const status =
  (code: number, headers: Record<string, string> = {}, body = ''): Misbehaviour =>
  (_, response) => {
    response.writeHead(code, headers).end(body);
    return true;
  };
const range =
  (headers: Record<string, string | undefined>, body?: Uint8Array): Misbehaviour =>
  (asked, response) => {
    web.range(asked, response, headers, body);
    return true;
  };
/** A body of so many bytes more than the range, whatever the headers say. */
const raw =
  (more: number, headers: Record<string, string | undefined>): Misbehaviour =>
  (asked, response) => {
    const { first, last, bytes } = asked;
    response.useChunkedEncodingByDefault = false;
    response.shouldKeepAlive = false;
    const lines = Object.entries({
      'content-range': `bytes ${first}-${last}/${bytes.length}`,
      'content-length': String(last - first + 1),
      ...headers,
    }).filter(([, value]) => value !== undefined);
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    response.socket?.write(`HTTP/1.1 206 Partial Content\r\nconnection: close\r\n${head}\r\n`);
    response.socket?.end(noise(last - first + 1 + more, 9));
    return true;
  };

/** What a server does to the second and later requests, and the error that comes of it. */
const REFUSED: Readonly<Record<string, readonly [Misbehaviour, string, RegExp]>> = {
  '200 for a range': [status(200, {}, 'x'.repeat(300_000)), 'UNSUPPORTED', /ranges/],
  '404 later': [status(404), 'NOT_FOUND', /no such file/],
  '403': [status(403), 'PERMISSION_DENIED', /denies/],
  '204': [status(204), 'NETWORK_FAILED', /unexpected/],
  '304': [status(304), 'NETWORK_FAILED', /unexpected/],
  '412': [status(412), 'CHANGED', /changed/],
  '416': [status(416, { 'content-range': 'bytes */10' }), 'CHANGED', /changed/],
  '501': [status(501), 'NETWORK_FAILED', /unexpected/],
  'a redirect to nowhere': [status(302), 'NETWORK_FAILED', /unexpected/],
  'changed ETag': [range({ etag: '"two"' }), 'CHANGED', /found \\?"two/],
  'other size': [range({ 'content-range': 'bytes 60000-259999/300001' }), 'CHANGED', /300001/],
  'range one too early': [
    range({ 'content-range': 'bytes 59999-259998/300000' }),
    'NETWORK_FAILED',
    /another range/,
  ],
  'range one too short': [
    range({ 'content-range': 'bytes 60000-259998/300000' }),
    'NETWORK_FAILED',
    /another range/,
  ],
  'no Content-Range': [range({ 'content-range': undefined }), 'NETWORK_FAILED', /another range/],
  'malformed Content-Range': [
    range({ 'content-range': 'bytes 60000-259999' }),
    'NETWORK_FAILED',
    /another range/,
  ],
  'several ranges': [
    range({ 'content-range': undefined, 'content-type': 'multipart/byteranges; boundary=x' }),
    'NETWORK_FAILED',
    /another range/,
  ],
  'short Content-Length': [range({}, noise(199_999)), 'NETWORK_FAILED', /length of the answer/],
  'long Content-Length': [range({}, noise(200_001)), 'NETWORK_FAILED', /length of the answer/],
  'short body without length': [
    raw(-1, { 'content-length': undefined }),
    'NETWORK_FAILED',
    /ends early/,
  ],
  'long body without length': [
    raw(1, { 'content-length': undefined }),
    'NETWORK_FAILED',
    /more than/,
  ],
  'body that breaks off': [raw(-1, {}), 'NETWORK_FAILED', /broke off|connection failed/],
  'compressed range': [
    range({ 'content-encoding': 'gzip', 'content-length': undefined }, gzipSync(WANTED)),
    'UNSUPPORTED',
    /compresses/,
  ],
  'reset connection': [
    (_, response) => {
      (response.socket as Socket).resetAndDestroy();
      return true;
    },
    'NETWORK_FAILED',
    /broke off|connection failed/,
  ],
  stall: [() => true, 'NETWORK_FAILED', /sends nothing/],
  'stall after half': [
    ({ first, last, bytes }, response) => {
      response.writeHead(206, {
        'content-range': `bytes ${first}-${last}/${bytes.length}`,
        'content-length': String(last - first + 1),
      });
      response.write(bytes.subarray(first, first + 10));
      return true;
    },
    'NETWORK_FAILED',
    /sends nothing/,
  ],
  'not HTTP': [
    (_, response) => {
      response.socket?.end('SSH-2.0-OpenSSH_9.2\r\n');
      return true;
    },
    'NETWORK_FAILED',
    /not HTTP/,
  ],
  'endless head': [
    (_, response) => {
      response.socket?.write(`HTTP/1.1 206 OK\r\nx: ${'y'.repeat(100_000)}`);
      return true;
    },
    'NETWORK_FAILED',
    /not HTTP/,
  ],
};

it.each(Object.entries(REFUSED))(
  'gives a typed error: %s',
  async (name, [misbehave, code, words]) => {
    web.misbehave = later(misbehave);
    const error = { name: 'SoftpackError', code, message: expect.stringMatching(words) };
    const limits = { retries: 1, ...(name.startsWith('stall') && { stallMs: 200 }) };
    await expect(read(undefined, limits)).rejects.toMatchObject(error);
    // Which of them are repeated is a matter of the cause: what the server said stays, what broke off may pass.
    expect(web.asked.length).toBeLessThanOrEqual(3);
  },
);

it('gives up on bytes that drip in, with the time it allows', async () => {
  const timers: NodeJS.Timeout[] = [];
  web.misbehave = later(({ first, last, bytes }, response) => {
    response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${bytes.length}` });
    timers.push(setInterval(() => response.write('x'), 20));
    return true;
  });
  const limits = { stallMs: 500, attemptMs: 200 };
  const file = await httpStore(`${web.url}/folder`, { ...FAST, ...limits }).open('file');
  const error = { code: 'NETWORK_FAILED', message: expect.stringMatching(/too slowly/) };
  await expect(file.read(100_000, new Uint8Array(1000))).rejects.toMatchObject(error);
  for (const timer of timers) clearInterval(timer);
});

it('goes on with the rest of a body that broke off', async () => {
  web.misbehave = later((asked, response) => {
    if (asked.index > 3) return false;
    const { first, last, bytes } = asked;
    response.writeHead(206, {
      etag: '"one"',
      'content-range': `bytes ${first}-${last}/${bytes.length}`,
      'content-length': String(last - first + 1),
    });
    response.write(bytes.subarray(first, first + 50_000), () => response.destroy());
    return true;
  });
  await expectWanted(read());
  const firsts = web.asked.slice(1).map(({ first }) => first);
  expect(firsts).toEqual([60_000, 110_000, 160_000, 210_000]);
});

it('asks for all of it again if nothing tells versions apart', async () => {
  web.misbehave = ({ first, last, bytes, index }, response) => {
    response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${bytes.length}` });
    if (index !== 1) response.end(bytes.subarray(first, last + 1));
    else response.write(bytes.subarray(first, first + 50_000), () => response.destroy());
    return true;
  };
  await expectWanted(read());
  expect(web.asked.map(({ first }) => first)).toEqual([0, 60_000, 60_000]);
  expect(web.asked[1]?.headers['if-match']).toBeUndefined();
});

it('pins the date where there is no tag, and never sends weak tags as a condition', async () => {
  const date = 'Sat, 28 Nov 2026 10:00:00 GMT';
  web.misbehave = range({ etag: undefined, 'last-modified': date });
  await expectWanted(read());
  web.misbehave = (asked, response) => {
    const modified = asked.index % 2 === 0 ? date : 'Sat, 28 Nov 2026 10:00:01 GMT';
    return range({ etag: undefined, 'last-modified': modified })(asked, response);
  };
  web.asked.length = 0;
  await expect(read()).rejects.toMatchObject({ code: 'CHANGED' });
  web.misbehave = range({ etag: 'W/"weak"' });
  await expectWanted(read());
  expect(web.asked.at(-1)?.headers['if-match']).toBeUndefined();
});

it('rides out storms of 503, and keeps the wait that the server asks for', async () => {
  web.misbehave = (asked, response) =>
    asked.index % 3 !== 2 && status(asked.index % 2 === 0 ? 503 : 429)(asked, response);
  await expectWanted(read());
  expect(web.asked.length).toBe(6);
  web.reset();
  let failedAt = 0;
  let waited = 0;
  web.misbehave = later((asked, response) => {
    if (asked.index > 1) {
      waited = performance.now() - failedAt;
      return false;
    }
    failedAt = performance.now();
    return status(503, { 'retry-after': '1' })(asked, response);
  });
  await expectWanted(read());
  expect(waited).toBeGreaterThan(980);
  web.reset();
  web.misbehave = status(503, { 'retry-after': '3600' });
  const error = { code: 'NETWORK_FAILED', found: 'status 503, Retry-After 3600 s' };
  await expect(read()).rejects.toMatchObject(error);
  expect(web.asked.length).toBe(1);
  web.reset();
  web.misbehave = status(500);
  await expect(read()).rejects.toThrow(/in the last of 4 attempts/);
});

it('follows redirects, and ends those in a circle, of many hops and to anything unsafe', async () => {
  const hop =
    (count: number, to: (path: string) => string): Misbehaviour =>
    ({ path }, response) => {
      const done = Number(/^hop(\d+)\//.exec(path)?.[1] ?? 0);
      if (done >= count) return false;
      response.writeHead(302, { location: to(`/hop${done + 1}/file`) }).end('moved');
      return true;
    };
  web.files.set('hop9/file', FILE);
  web.misbehave = hop(9, (path) => path);
  await expectWanted(read());
  const failing: readonly (readonly [Misbehaviour, RegExp])[] = [
    [hop(99, (path) => path), /too many redirects/],
    [hop(99, () => '/folder/file#here'), /circle/],
    [hop(99, (path) => (path.includes('hop1') ? '/other' : '/folder/file')), /circle/],
    [hop(99, () => 'ftp://127.0.0.1/file'), /no web server/],
    [hop(99, () => 'file:///etc/passwd'), /no web server/],
    [hop(99, () => 'http://['), /no address/],
  ];
  for (const [misbehave, words] of failing) {
    web.misbehave = misbehave;
    const error = { code: 'NETWORK_FAILED', message: expect.stringMatching(words) };
    await expect(read()).rejects.toMatchObject(error);
  }
});

it('sends passwords and headers to their own host only, and names them nowhere', async () => {
  const other = await WebServer.start();
  other.files.set('file', FILE);
  web.misbehave = (_, response) => status(307, { location: `${other.url}/file` })(_, response);
  const address = web.url.replace('//', '//me:p%40ss@');
  const headers = { 'x-token': 'secret' };
  const store = httpStore(`${address}/folder?signature=secret`, { ...FAST, headers });
  const file = await store.open('file');
  await file.read(100_000, new Uint8Array(10));
  const basic = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
  expect(web.asked[0]?.headers).toMatchObject({ authorization: basic, 'x-token': 'secret' });
  expect(other.asked.length).toBe(2);
  for (const { headers: sent } of other.asked) {
    expect(sent).not.toHaveProperty('authorization');
    expect(sent).not.toHaveProperty('x-token');
  }
  web.misbehave = status(403);
  const error = await file.read(1e5, new Uint8Array(10)).catch((cause: unknown) => cause);
  const denied = await store.open('file').catch((cause: unknown) => cause);
  const wrong = [`http://me:secret@host:99999/`, 'https://me:%zz@host/'].map((text) =>
    openStore(text).catch((cause: unknown) => cause),
  );
  for (const text of [store.name, file.name, error, denied, ...(await Promise.all(wrong))]) {
    expect(`${text} ${JSON.stringify(text)}`).not.toMatch(/secret|p@ss|p%40ss|%zz/);
  }
  expect(denied).toMatchObject({ code: 'PERMISSION_DENIED' });
  expect(() => httpStore(web.url, { headers: { a: 'b\nc' } })).toThrow(/headers: a/);
  for (const limits of [{ retries: -1 }, { requests: 0 }, { stallMs: Number.NaN }]) {
    const field = `http.${Object.keys(limits)}`;
    expect(() => httpStore(web.url, limits)).toThrow(expect.objectContaining({ field }));
  }
});

it('reads from servers of HTTP/1.0, without a length', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (request) => {
      const [, first, last] = /bytes=(\d+)-(\d+)/.exec(String(request)) ?? [];
      const end = Math.min(Number(last), FILE.length - 1);
      socket.write(
        `HTTP/1.0 206 Partial\r\nContent-Range: bytes ${first}-${end}/${FILE.length}\r\n\r\n`,
      );
      socket.end(FILE.subarray(Number(first), end + 1));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterAll(() => server.close());
  const { port } = server.address() as { port: number };
  await expectWanted(read(`http://127.0.0.1:${port}`));
});

it('trusts certificates that it is told to, and never goes from https to http', async ({
  skip,
}) => {
  const [key, cert] = [directory.path('key.pem'), directory.path('cert.pem')];
  try {
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    execFileSync('openssl', [...args, '-nodes', '-keyout', key, '-out', cert, ...names], {
      stdio: 'pipe',
    });
  } catch (error) {
    skip(`openssl makes no certificate: ${error}`);
  }
  const ca = readFileSync(cert, 'utf8');
  const secure = await WebServer.start({ key: readFileSync(key, 'utf8'), cert: ca });
  secure.files.set('folder/file', FILE);
  await expectWanted(read(`${secure.url}/folder`, { ca }));
  await expect(read(`${secure.url}/folder`)).rejects.toMatchObject({
    code: 'NETWORK_FAILED',
    message: expect.stringMatching(/not trusted/),
  });
  secure.misbehave = status(302, { location: `${web.url}/folder/file` });
  await expect(read(`${secure.url}/folder`, { ca })).rejects.toThrow(/from https to http/);
  expect(web.asked.length).toBe(0);
});

it('ends at once when its signal is aborted, also while it waits', async () => {
  const file = await httpStore(`${web.url}/folder`, { backoffMs: 60_000 }).open('file');
  const aborted = { code: 'ABORTED' };
  const attempts: readonly Misbehaviour[] = [() => true, status(503)];
  for (const misbehave of attempts) {
    const abort = new AbortController();
    web.misbehave = (asked, response) => {
      setTimeout(() => abort.abort(), 20);
      return misbehave(asked, response);
    };
    const reading = file.read(1e5, new Uint8Array(10), { signal: abort.signal });
    await expect(reading).rejects.toMatchObject(aborted);
  }
  const signal = AbortSignal.abort();
  await expect(file.read(1e5, new Uint8Array(10), { signal })).rejects.toMatchObject(aborted);
});

it('keeps to its number of requests at a time', async () => {
  let open = 0;
  let most = 0;
  web.misbehave = (asked, response) => {
    most = Math.max(most, ++open);
    setTimeout(() => {
      open--;
      web.range(asked, response);
    }, 5);
    return true;
  };
  const file = await httpStore(`${web.url}/folder`, { requests: 3 }).open('file');
  const reads = Array.from({ length: 12 }, (_, i) => file.read(1e5 + i, new Uint8Array(9)));
  await Promise.all(reads);
  expect(most).toBe(3);
});

it('names hosts that do not answer, and addresses that it cannot open', async () => {
  const closed = await WebServer.start();
  await closed.stop();
  await expect(read(closed.url)).rejects.toMatchObject({
    code: 'NETWORK_FAILED',
    message: expect.stringMatching(/refused/),
    field: `${closed.url}/file`,
  });
  for (const [address, code] of [
    ['ftp://host/a', 'UNSUPPORTED'],
    ['http://', 'INVALID_ARGUMENT'],
    ['https://exa mple/', 'INVALID_ARGUMENT'],
    ['file://host/folder', 'INVALID_ARGUMENT'],
    [directory.path('none'), 'NOT_FOUND'],
    [`file://${directory.path('none')}`, 'NOT_FOUND'],
  ] as const) {
    await expect(openStore(address), address).rejects.toMatchObject({ code });
  }
  const file = await directory.file('file', FILE);
  const local = await openStore(`file://${directory.path('')}`);
  expect((await local.open('file')).name).toBe(file);
});
