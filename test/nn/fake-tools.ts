import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { crc32 } from 'node:zlib';

/**
 * Stand-ins for pip, npm and the compiler: they log their calls, hand out small files in place of downloads, and fail
 * or wait as they are told to by the environment. What they install computes on the cpu backend, under the name
 * `tensorflow`, so that the verification runs.
 */
export class FakeTools {
  readonly #root: string;
  readonly bin: string;
  readonly wheels: string;
  /** Environment variables with which installations use these tools. */
  readonly env: Readonly<Record<string, string>>;

  private constructor(root: string) {
    this.#root = root;
    this.bin = join(root, 'bin');
    this.wheels = join(root, 'wheels to download');
    this.env = {
      PATH: this.bin,
      PYTHON: '',
      CXX: '',
    };
  }

  static async create(root: string): Promise<FakeTools> {
    const tools = new FakeTools(root);
    for (const folder of [tools.bin, tools.wheels]) await mkdir(folder, { recursive: true });
    for (const [name, text] of Object.entries(SCRIPTS)) {
      await writeFile(join(tools.bin, name), text.replaceAll('$ROOT', root));
      await chmod(join(tools.bin, name), 0o755);
    }
    for (const [path, text] of Object.entries(PACKAGE)) {
      const file = join(root, 'packages', '@tensorflow', 'tfjs-node-gpu', path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text);
    }
    await tools.clearLog();
    await tools.set({});
    return tools;
  }

  /**
   * Sets the tools' behaviour: nothing to succeed, `wait` to do nothing for a minute, `insist` to do so in two processes that
   * ignore SIGTERM, else what to say and fail. They read it from a file, as the environment does not reach them.
   */
  async set(says: Partial<Record<'PIP' | 'NPM' | 'COMPILER', string>>, packages = 'packages') {
    const lines = Object.entries(says).map(([tool, text]) => `FAKE_${tool}=${quoted(text)}`);
    lines.push(`FAKE_PACKAGES=${quoted(resolve(this.#root, packages))}`);
    await writeFile(join(this.#root, 'settings'), `${lines.join('\n')}\n`);
  }

  /** Names of the variables that the tools were started with, of all calls since `clearLog`. */
  async variables(): Promise<string[]> {
    const names = (await readFile(join(this.#root, 'variables'), 'utf8')).split('\n');
    return [...new Set(names.filter((name) => name !== ''))];
  }

  /** Calls since the last `clearLog`, `--version` left out. */
  async calls(): Promise<string[]> {
    const lines = (await readFile(join(this.#root, 'log'), 'utf8')).split('\n');
    return lines.filter((line) => line !== '' && !line.includes('--version'));
  }

  /** Ids of the processes that wait or insist. */
  async processes(): Promise<number[]> {
    const text = await readFile(join(this.#root, 'processes'), 'utf8').catch(() => '');
    return text.trim().split(/\s+/).filter(Boolean).map(Number);
  }

  async clearLog(): Promise<void> {
    await writeFile(join(this.#root, 'log'), '');
    await writeFile(join(this.#root, 'variables'), '');
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const PROLOGUE = (name: string) => `#!/bin/sh
PATH=/usr/bin:/bin
env | sed -n 's/^\\([A-Za-z_]*\\)=.*/\\1/p' >> "$ROOT/variables"
. "$ROOT/settings"
FAKE_LOG="$ROOT/log"
FAKE_WHEELS="$ROOT/wheels to download"
echo "${name} $*" >> "$FAKE_LOG"
case "$*" in *--version*) exit 0 ;; esac
if [ "$FAKE_${name}" = wait ]; then echo $$ >> "$ROOT/processes"; exec sleep 60; fi
if [ "$FAKE_${name}" = insist ]; then
  trap '' TERM
  sleep 60 &
  echo "$$
$!" >> "$ROOT/processes"
  wait
  sleep 60
fi
if [ -n "$FAKE_${name}" ]; then echo "$FAKE_${name}" >&2; exit 1; fi
`;

const SCRIPTS: Readonly<Record<string, string>> = {
  python3: `${PROLOGUE('PIP')}
what=tensorflow
while [ $# -gt 0 ]; do
  case $1 in
    --dest) dest=$2 ;;
    -r)
      cat "$2" >> "$FAKE_LOG"
      case $2 in */nvidia.txt) what=nvidia ;; esac ;;
  esac
  shift
done
cp "$FAKE_WHEELS/$what"*.whl "$dest"
`,
  npm: `${PROLOGUE('NPM')}
while [ $# -gt 0 ]; do
  if [ "$1" = --prefix ]; then prefix=$2; fi
  shift
done
mkdir -p "$prefix/node_modules"
cp -r "$FAKE_PACKAGES/." "$prefix/node_modules"
for name in tfjs tfjs-core; do ln -s "../../engine/@tensorflow/$name" "$prefix/node_modules/@tensorflow/$name"; done
`,
  'g++': `${PROLOGUE('COMPILER')}
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then echo built > "$2"; fi
  shift
done
`,
};

const PACKAGE: Readonly<Record<string, string>> = {
  'package.json':
    '{ "name": "@tensorflow/tfjs-node-gpu", "version": "4.22.0", "main": "index.js" }',
  'binding/tfjs_backend.cc': 'static std::set<std::string> ATTR_NAME_SET;\n',
  'binding/tfjs_binding.cc': '',
  'index.js': `const tf = require('@tensorflow/tfjs');
const extra = { binding: { TF_Version: 'fake' }, isUsingGpuDevice: false };
tf.registerBackend('tensorflow', () => Object.assign(tf.findBackendFactory('cpu')(), extra), 3);
tf.copyRegisteredKernels('cpu', 'tensorflow');
tf.setBackend('tensorflow');
`,
};

/** A wheel: a zip file with a RECORD of its members. `record` is put in place of the right hashes. */
export function wheel(
  facts: { readonly name: string; readonly version: string; readonly tag?: string },
  members: Readonly<Record<string, string>>,
  extra: { readonly metadata?: string; readonly record?: string } = {},
): Buffer {
  const { name, version, tag = 'py3-none-manylinux_2_27_x86_64' } = facts;
  const info = `${name.replaceAll('-', '_')}-${version}.dist-info`;
  const hashOf = (text: string) => createHash('sha256').update(text).digest('base64url');
  const record = Object.entries(members).map(
    ([path, text]) => `${path},sha256=${extra.record ?? hashOf(text)},${text.length}`,
  );
  return zip({
    ...members,
    [`${info}/METADATA`]: `Name: ${name}\nVersion: ${version}\n${extra.metadata ?? ''}`,
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nTag: ${tag}\n`,
    [`${info}/RECORD`]: record.join('\n'),
  });
}

/** A zip file whose members are stored as they are. */
function zip(members: Readonly<Record<string, string>>): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [path, text] of Object.entries(members)) {
    const [name, data] = [Buffer.from(path), Buffer.from(text)];
    // From "version needed" to "extra length", which the local header and the directory share.
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(name.length, 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(offset, 10);
    files.push(Buffer.from('PK\x03\x04'), common, name, data);
    directory.push(Buffer.from('PK\x01\x02'), Buffer.of(20, 0), common, rest, name);
    offset += 30 + name.length + data.length;
  }
  const count = Object.keys(members).length;
  const end = Buffer.alloc(18);
  end.writeUInt16LE(count, 4);
  end.writeUInt16LE(count, 6);
  end.writeUInt32LE(Buffer.concat(directory).length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...files, ...directory, Buffer.from('PK\x05\x06'), end]);
}
