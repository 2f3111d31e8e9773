// Prints a line a batch: the digest of its bytes, and the loader's state after it. Takes an archive, its images and,
// to go on from one, a state.
import { createHash } from 'node:crypto';
import { openArchive } from '../../dist/archive/archive.js';
import { openImages } from '../../dist/images/open.js';
import { createLoader } from '../../dist/loader/loader.js';

const [archivePath, imagesPath, workers, state] = process.argv.slice(2);
const archive = await openArchive(archivePath);
const images = await openImages(imagesPath);
const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.3, 0.3, 0.3] };
const resume = state && JSON.parse(state);
const options = { archive, images, normalisation, batchSize: 8, seed: 3, workers: Number(workers) };
const loader = createLoader({ ...options, resume });
for await (const { epoch, index, sampleIds, xs, ys } of loader) {
  const hash = createHash('sha256').update(`${epoch} ${index}`).update(sampleIds);
  const digest = hash.update(xs).update(ys).digest('hex');
  process.stdout.write(`${JSON.stringify({ digest, state: loader.state() })}\n`);
}
await loader.close();
