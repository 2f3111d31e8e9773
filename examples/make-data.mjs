// Draws pictures of six classes and packs a teacher's soft labels of all their augmented views.
//
//   node examples/make-data.mjs <dir>
//
// The teacher here is simple enough to read: it knows the colour of each class. Put your own in its place.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import {
  Augmenter,
  imageFolder,
  memoryLabelSource,
  openImageReader,
  packLogits,
  renderViews,
} from 'softpack';

const COLOURS = {
  amber: [240, 170, 30],
  blue: [40, 80, 220],
  green: [30, 160, 60],
  pink: [240, 120, 190],
  red: [210, 40, 40],
  white: [235, 235, 235],
};
const CLASSES = Object.keys(COLOURS);
const [PER_CLASS, EPOCHS, SIZE] = [16, 6, 16];

const [dir] = process.argv.slice(2);
if (dir === undefined) throw new Error('usage: node examples/make-data.mjs <dir>');

// 1. Pictures: a disc of the class's colour on a grey ground, one folder a class.
let seed = 1;
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
for (const [name, colour] of Object.entries(COLOURS)) {
  await mkdir(join(dir, 'images', name), { recursive: true });
  for (let i = 0; i < PER_CLASS; i++) {
    const fill = `rgb(${colour.map((value) => Math.round(value + 30 * (random() - 0.5)))})`;
    const [x, y, r] = [8 + 8 * random(), 8 + 8 * random(), 6 + 4 * random()];
    const svg = `<svg width="24" height="24"><rect width="24" height="24" fill="#777"/>
      <circle cx="${x}" cy="${y}" r="${r}" fill="${fill}"/></svg>`;
    const file = join(dir, 'images', name, `${String(i).padStart(3, '0')}.png`);
    await writeFile(file, await sharp(Buffer.from(svg)).png().toBuffer());
  }
}

// 2. How views are made: it goes into the archive, and no byte of it is kept per label.
const augmentation = {
  generator: 'philox4x32-10',
  seed: 5,
  size: [SIZE, SIZE],
  crop: { scale: [0.5, 1], ratio: [0.75, 4 / 3] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
};

// 3. The teacher's logits of every view in every epoch.
const images = await imageFolder(join(dir, 'images'));
const reader = await openImageReader(images.description);
const pixels = await reader.read(Uint32Array.from({ length: images.count }, (_, i) => i));
const augmenter = new Augmenter(augmentation, pixels);
const stride = SIZE * SIZE * 3;
const logits = new Float32Array(EPOCHS * images.count * CLASSES.length);
for (let epoch = 0; epoch < EPOCHS; epoch++) {
  const views = new Float32Array(images.count * stride);
  const samples = { start: 0, count: images.count };
  const raw = { mean: [0, 0, 0], std: [1, 1, 1] };
  renderViews(augmenter, pixels, epoch, samples, raw, views);
  for (let i = 0; i < images.count; i++) {
    const view = views.subarray(i * stride, (i + 1) * stride);
    logits.set(teacher(view), (epoch * images.count + i) * CLASSES.length);
  }
}

reader[Symbol.dispose]();

/** For each class how much of the view has its colour. */
function teacher(view) {
  const near = (at, colour) => {
    const distance = colour.reduce((sum, value, c) => sum + (view[at + c] - value / 255) ** 2, 0);
    return Math.exp(-30 * distance);
  };
  return CLASSES.map((name) => {
    let score = 0;
    for (let at = 0; at < view.length; at += 3) score += near(at, COLOURS[name]);
    return (40 * score) / (view.length / 3);
  });
}

// 4. The archive.
const packed = await packLogits({
  source: memoryLabelSource(logits, {
    epochs: EPOCHS,
    samples: images.count,
    classes: CLASSES.length,
  }),
  out: join(dir, 'labels.softpack'),
  codec: { dh: 6, dc: 2, k: 64 },
  tau: 2,
  augmentation,
  images: { id: images.id, count: images.count, fit: null },
  classNames: CLASSES,
  training: { steps: 300 },
});
console.log(`${packed.labels} labels, KL ${packed.divergence.kl.toExponential(1)} after decoding`);
