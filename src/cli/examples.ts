/** Command lines that the help of every command ends with; the tests parse them. */
export const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  demo: ['softpack demo --seed 1 --dir softpack-demo'],
  plan: [
    'softpack plan --classes 1000 --ipc 10 --epochs 300 --ratio 40',
    'softpack plan --labels logits.npy --ratio 400',
  ],
  statistics: [
    'softpack statistics --teacher resnet18.pth --images imagenet/train --out statistics.safetensors',
  ],
  synthesise: [
    'softpack synthesise --teacher resnet18.onnx --preprocessing torch --images imagenet/train --ipc 10 --out distilled',
    'softpack synthesise --method cda --teacher resnet18.pth --ipc 10 --job s3://bucket/distilled --for slurm > job.sh',
  ],
  cache: [
    'softpack cache --teacher resnet50.onnx --preprocessing torch --images photos --epochs 300 --out full',
    'softpack cache --teacher resnet18.pth --images photos --epochs 300 --ratio 40 --out labels.softpack',
  ],
  'cache plan': [
    'softpack cache plan s3://bucket/labels --teacher resnet50.pth --images packed --epochs 300 --ratio 40 --grid 300x2048',
    'softpack cache plan /shared/labels --teacher resnet18.pth --images photos --epochs 300 --ratio 40 --for slurm > job.sh',
  ],
  'cache codec': ['softpack cache codec s3://bucket/labels'],
  'cache run': [
    'softpack cache run s3://bucket/labels --shard 3/64',
    'softpack cache run /shared/labels --teacher /data/resnet50.pth --images /data/packed',
  ],
  'cache work': ['softpack cache work s3://bucket/labels --queue redis://queue.example.org:6379'],
  'cache missing': ['softpack cache missing s3://bucket/labels'],
  'cache status': ['softpack cache status s3://bucket/labels'],
  'cache finalize': ['softpack cache finalize s3://bucket/labels --verify'],
  pack: [
    'softpack pack logits.npy --ratio 40 --tau 20 --out labels.softpack',
    'softpack pack full --codec transform --ratio 400 --out labels.softpack',
  ],
  'pack-images': ['softpack pack-images photos --encoding jpeg --short-side 256 --out packed'],
  import: ['softpack import relabel --images images --out labels'],
  export: ['softpack export labels.softpack --to sre2l --out relabel'],
  cat: [
    'softpack cat labels.softpack --epoch 0 --samples 0:100 --out labels.npy',
    'softpack cat labels.softpack --epoch 0:3 --format csv --out -',
  ],
  inspect: [
    'softpack inspect labels.softpack',
    'softpack inspect s3://bucket/labels.softpack --json',
  ],
  report: [
    'softpack report labels.softpack --images photos --out labels.html',
    'softpack report labels.softpack --full full',
  ],
  view: ['softpack view labels.softpack --images photos'],
  verify: [
    'softpack verify labels.softpack',
    'softpack verify labels.softpack --teacher teacher.onnx --images photos --labels 1000',
  ],
  repair: ['softpack repair labels.softpack --from https://example.org/labels.softpack'],
  copy: ['softpack copy labels.softpack s3://bucket/labels.softpack'],
  sign: ['softpack sign labels.softpack --key key.pem'],
  diff: ['softpack diff a.softpack b.softpack'],
  merge: ['softpack merge part-0 part-1 part-2 --out labels.softpack'],
  append: [
    'softpack append labels.softpack more.softpack',
    'softpack append labels.softpack epochs.npy --views following',
  ],
  'loader-bench': ['softpack loader-bench labels.softpack --images photos --step 40'],
  doctor: ['softpack doctor', 'softpack doctor --build'],
  completion: [
    'eval "$(softpack completion bash)"  # in ~/.bashrc',
    'eval "$(softpack completion zsh)"  # in ~/.zshrc, after compinit',
    'softpack completion fish > ~/.config/fish/completions/softpack.fish',
  ],
  'tensorflow install': ['softpack tensorflow install'],
  'tensorflow uninstall': ['softpack tensorflow uninstall'],
  'tokens label': [
    'softpack tokens label texts.jsonl --model model.gguf --out labels',
    'softpack tokens label texts.jsonl --model model.gguf --job s3://bucket/labels',
  ],
  'tokens import': [
    'softpack tokens import answers.jsonl --vocabulary 151936 --out labels',
    'softpack tokens import logits.npy --from logits --tokens ids.npy --lengths lengths.npy --out labels',
  ],
  'tokens export': ['softpack tokens export labels --to distillkit --out captured'],
  'tokens plan': ['softpack tokens plan --vocabulary 151936 --tokens 1e9'],
  'tokens inspect': ['softpack tokens inspect labels'],
  'tokens verify': ['softpack tokens verify labels'],
};

/** Commands that go on where they stopped when they are started again. */
export const RESUMED: ReadonlySet<string> = new Set([
  ...[
    'demo',
    'statistics',
    'synthesise',
    'cache',
    'cache codec',
    'cache run',
    'cache work',
    'pack',
    'pack-images',
    'import',
  ],
  ...['copy', 'merge', 'tokens label', 'tokens import'],
]);
