// Serves the files of a folder from memory by ranges, as a process of its own: as paths, and as objects of a bucket of any
// name, so that S3's clients are answered as well.
//   startServer(folder, latency) -> { address, counts(), reset(), stop() }
// `latency` makes each answer wait (ms). Counted are requests and bytes of bodies.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const own = fileURLToPath(import.meta.url);
if (process.argv[1] === own) await serve(process.argv[2], Number(process.argv[3]));

export async function startServer(folder, latency) {
  const server = fork(own, [folder, String(latency)]);
  const ask = async (what) => {
    server.send(what);
    return (await once(server, 'message'))[0];
  };
  const [port] = await once(server, 'message');
  return {
    address: `http://127.0.0.1:${port}`,
    counts: () => ask('counts'),
    reset: () => ask('reset'),
    stop: () => server.kill(),
  };
}

async function serve(folder, latency) {
  const files = new Map();
  for (const name of await readdir(folder)) {
    files.set(name, await readFile(path.join(folder, name)));
  }
  const counts = { requests: 0, bytes: 0 };
  const server = createServer(async (request, response) => {
    const bytes = files.get(path.basename(request.url.split('?')[0]));
    counts.requests++;
    await setTimeout(latency);
    if (bytes === undefined) return response.writeHead(404).end();
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [first, to] = range?.slice(1).map(Number) ?? [0, bytes.length - 1];
    const last = Math.min(to, bytes.length - 1);
    counts.bytes += last - first + 1;
    response.writeHead(range ? 206 : 200, {
      etag: '"1"',
      ...(range && { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
      'content-length': last - first + 1,
    });
    return response.end(bytes.subarray(first, last + 1));
  });
  // Connections that wait while another source has its turn stay open.
  server.keepAliveTimeout = 600_000;
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
  process.on('message', (what) => {
    if (what === 'reset') Object.assign(counts, { requests: 0, bytes: 0 });
    process.send({ ...counts });
  });
  process.on('disconnect', () => process.exit());
}
