// Epochs of an archive on a server against the same archive in a folder.
//   node bench/remote.mjs [--samples 100000] [--rounds 5] [--latency 0] [--reads 1000] [--s3 ENDPOINT]
// The server is a process of its own on the loopback interface; `--latency` makes each of its answers wait (ms). An epoch is
// read as rows, and as a loader gives it (labels decoded, no images). Sources take turns, round by round; shown are
// medians and the range. `--reads` epochs are then read in a row to see whether memory grows.
// The same over https, with a certificate that openssl signs for the run, and once through Node's http alone, without softpack:
// what a stream of bytes costs here.
// With `--s3` (a server like SeaweedFS, credentials in the environment) the archive is put into a bucket there as well.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import http, { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createLoader, openArchive, openStore } from 'softpack';
import { EPOCHS, writeLabels } from './loader/data.mjs';

const { values } = parseArgs({
  options: {
    samples: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '5' },
    latency: { type: 'string', default: '0' },
    reads: { type: 'string', default: '1000' },
    s3: { type: 'string' },
    serve: { type: 'string' },
    tls: { type: 'string' },
  },
});
if (values.serve === undefined) await main();
else await serve(values.serve, Number(values.latency));

/** Serves a folder by ranges, and tells its parent the requests and bytes so far when asked. */
async function serve(folder, latency) {
  const counts = { requests: 0, bytes: 0 };
  const answer = async (request, response) => {
    const file = path.join(folder, path.basename(request.url));
    const found = await stat(file).catch(() => undefined);
    if (latency > 0) await setTimeout(latency);
    if (found === undefined) return response.writeHead(404).end();
    const [, first, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range).map(Number);
    const last = Math.min(to, found.size - 1);
    counts.requests++;
    counts.bytes += last - first + 1;
    response.writeHead(206, {
      etag: `"${found.mtimeMs}"`,
      'content-range': `bytes ${first}-${last}/${found.size}`,
      'content-length': last - first + 1,
    });
    return createReadStream(file, { start: first, end: last, highWaterMark: 2 ** 18 }).pipe(
      response,
    );
  };
  const listen = (server) =>
    new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve(server.address().port));
    });
  const plain = await listen(createServer(answer));
  const pem = (name) => readFile(path.join(values.tls, name));
  const secure =
    values.tls === undefined
      ? undefined
      : await listen(
          createSecureServer({ key: await pem('key.pem'), cert: await pem('cert.pem') }, answer),
        );
  process.send({ plain, secure });
  process.on('message', () => process.send({ ...counts }));
  process.on('disconnect', () => process.exit());
}

async function main() {
  const work = await mkdtemp(path.join(tmpdir(), 'softpack-bench-'));
  const folder = path.join(work, 'archive');
  await (await writeLabels(folder, Number(values.samples), 32, { kind: 'none' })).close();
  const own = fileURLToPath(import.meta.url);
  const ca = await certificate(work);
  const tls = ca === undefined ? [] : ['--tls', work];
  const server = fork(own, ['--serve', folder, '--latency', values.latency, ...tls]);
  try {
    const [ports] = await once(server, 'message');
    await compare(work, folder, { ...ports, ca }, server);
  } finally {
    server.kill();
    await rm(work, { recursive: true });
  }
}

/** A certificate for this run; undefined without openssl. */
async function certificate(work) {
  const file = (name) => path.join(work, name);
  const out = ['-keyout', file('key.pem'), '-out', file('cert.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', ...subject, ...out];
  try {
    execFileSync('openssl', args, { stdio: 'pipe' });
    return await readFile(file('cert.pem'), 'utf8');
  } catch (error) {
    console.log(`no https: ${error.message.split('\n')[0]}`);
    return undefined;
  }
}

async function compare(work, folder, { plain, secure, ca }, server) {
  const address = `http://127.0.0.1:${plain}`;
  const counts = async () => {
    server.send('counts');
    return (await once(server, 'message'))[0];
  };
  const cache = { folder: path.join(work, 'cache'), bytes: 2 ** 34 };
  const remote = (options) => openStore(address, options);
  const sources = new Map([
    ['folder', async () => folder],
    ['http, no cache', () => remote({ cache: false })],
    [
      'http, cold cache',
      async () => {
        await rm(cache.folder, { recursive: true, force: true });
        return remote({ cache });
      },
    ],
    ['http, warm cache', () => remote({ cache })],
  ]);
  if (secure !== undefined) {
    const options = { http: { ca }, cache: false };
    sources.set('https, no cache', () => openStore(`https://127.0.0.1:${secure}`, options));
  }
  if (values.s3 !== undefined) {
    const bucket = await putIntoBucket(folder);
    const s3 = { endpoint: values.s3 };
    sources.set('S3, no cache', () => openStore(`s3://${bucket}/archive`, { s3, cache: false }));
  }
  const size = await sizeOf(folder);
  console.log(
    `${EPOCHS} epochs x ${values.samples} samples, ${(size / 1e6).toFixed(1)} MB; latency ${values.latency} ms`,
  );
  for (const [what, epoch] of [
    ['rows', readRows],
    ['loader', readLoader],
  ]) {
    await measure(what, epoch, sources, counts);
  }
  await measurePlain(folder, address);
  await readMany(remote, Number(values.reads));
}

async function measure(what, read, sources, counts) {
  const times = new Map([...sources.keys()].map((name) => [name, []]));
  const asked = new Map();
  for (let round = -1; round < Number(values.rounds); round++) {
    for (const [name, open] of sources) {
      const before = await counts();
      const archive = await openArchive(await open());
      const start = performance.now();
      await read(archive);
      const ms = performance.now() - start;
      await archive.close();
      const after = await counts();
      // The first round warms up.
      if (round >= 0) times.get(name).push(ms / EPOCHS);
      asked.set(name, [after.requests - before.requests, after.bytes - before.bytes]);
    }
  }
  const local = median(times.get('folder'));
  for (const [name, all] of times) {
    const [requests, bytes] = asked.get(name);
    const range = `${Math.min(...all).toFixed(1)} to ${Math.max(...all).toFixed(1)}`;
    const ratio = (median(all) / local).toFixed(2);
    console.log(
      `${what.padEnd(7)}${name.padEnd(18)}${median(all).toFixed(1).padStart(8)} ms an epoch (${range}), x${ratio}; ` +
        `${requests} requests, ${(bytes / 1e6).toFixed(1)} MB`,
    );
  }
}

/** All shards by Node's http, a request after the other, copied into one array and no more. */
async function measurePlain(folder, address) {
  const names = (await readdir(folder)).filter((name) => name.startsWith('codes-'));
  const agent = new http.Agent({ keepAlive: true });
  const times = [];
  for (let round = -1; round < Number(values.rounds); round++) {
    const start = performance.now();
    for (const name of names) {
      const { size } = await stat(path.join(folder, name));
      const into = new Uint8Array(size);
      const each = Math.ceil(size / EPOCHS);
      for (let first = 0; first < size; first += each) {
        const range = `bytes=${first}-${Math.min(size, first + each) - 1}`;
        await new Promise((resolve) => {
          http.get(`${address}/${name}`, { agent, headers: { range } }, (answer) => {
            let at = first;
            answer.on('data', (piece) => {
              into.set(piece, at);
              at += piece.length;
            });
            answer.on('end', resolve);
          });
        });
      }
    }
    if (round >= 0) times.push((performance.now() - start) / EPOCHS);
  }
  agent.destroy();
  console.log(`bytes  node:http alone   ${median(times).toFixed(1).padStart(8)} ms an epoch`);
}

async function readRows(archive) {
  for (let epoch = 0; epoch < archive.epochs; epoch++) await archive.readRow(epoch);
}

async function readLoader(archive) {
  const loader = createLoader({ archive, batchSize: 256, workers: 1 });
  for await (const batch of loader) batch.release();
  await loader.close();
}

async function readMany(remote, reads) {
  const archive = await openArchive(await remote({ cache: false }));
  const rss = () => (process.memoryUsage.rss() / 2 ** 20).toFixed(0);
  const seen = [];
  for (let i = 0; i < reads; i++) {
    if (i % Math.ceil(reads / 5) === 0) seen.push(rss());
    await archive.readRow(i % archive.epochs);
  }
  await archive.close();
  console.log(`RSS over ${reads} epochs read by http: ${[...seen, rss()].join(', ')} MiB`);
}

async function putIntoBucket(folder) {
  const sdk = await import('@aws-sdk/client-s3');
  const client = new sdk.S3Client({
    endpoint: values.s3,
    region: 'us-east-1',
    forcePathStyle: true,
  });
  const Bucket = 'softpack-bench';
  await client.send(new sdk.CreateBucketCommand({ Bucket })).catch(() => undefined);
  for (const name of await readdir(folder)) {
    const Body = await readFile(path.join(folder, name));
    await client.send(new sdk.PutObjectCommand({ Bucket, Key: `archive/${name}`, Body }));
  }
  return Bucket;
}

async function sizeOf(folder) {
  const names = await readdir(folder);
  const found = await Promise.all(names.map((name) => stat(path.join(folder, name))));
  return found.reduce((sum, { size }) => sum + size, 0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
