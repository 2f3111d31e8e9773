import { SoftpackError } from '../../errors.js';
import type { TensorflowVariant } from './location.js';

/** Files to fetch for one platform and variant. */
export interface TensorflowPlan {
  readonly variant: TensorflowVariant;
  /** As pip takes it. */
  readonly requirement: string;
  /** Hash of the wheel in the package index; pip refuses any other. */
  readonly sha256: string;
  readonly wheelBytes: number;
  /** pip's name of the platform. */
  readonly platforms: readonly string[];
  /** Needed on disk while installing: wheels, unpacked libraries, headers. */
  readonly spaceBytes: number;
  /** The required NVIDIA driver, for `gpu`. */
  readonly driver?: string;
}

export const TENSORFLOW_VERSION = '2.21.0';
/** Releases whose C API the binding was compiled against and trained with. */
export const KNOWN_VERSIONS = ['2.21.0', '2.20.0'] as const;
export const BINDING_VERSION = '4.22.0';

const MIB = 2 ** 20;
const PLATFORMS = ['manylinux_2_27_x86_64', 'manylinux2014_x86_64', 'manylinux1_x86_64'];
/** CUDA 12 runs on any 12.x driver; kernels kept as PTX only need one as new as the compiler, CUDA 12.5. */
const DRIVER =
  'an NVIDIA driver 525.60.13 or later (CUDA 12); 555.42.02 or later for Hopper and newer, ' +
  'whose kernels the driver compiles at first use';

const PLANS: Readonly<Record<TensorflowVariant, TensorflowPlan>> = {
  cpu: {
    variant: 'cpu',
    requirement: `tensorflow-cpu==${TENSORFLOW_VERSION}`,
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
    wheelBytes: 273_829_956,
    platforms: PLATFORMS,
    spaceBytes: 1300 * MIB,
  },
  gpu: {
    variant: 'gpu',
    requirement: `tensorflow==${TENSORFLOW_VERSION}`,
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
    wheelBytes: 572_400_000,
    platforms: PLATFORMS,
    spaceBytes: 12_000 * MIB,
    driver: DRIVER,
  },
};

export interface Platform {
  readonly os: string;
  readonly cpu: string;
  /** Version of glibc; undefined on musl. */
  readonly glibc: string | undefined;
}

export function currentPlatform(): Platform {
  const report = process.report?.getReport() as
    | { readonly header?: { readonly glibcVersionRuntime?: string } }
    | undefined;
  const glibc = report?.header?.glibcVersionRuntime;
  return { os: process.platform, cpu: process.arch, glibc };
}

/** Throws `UNSUPPORTED` where TensorFlow's wheels do not run. */
export function tensorflowPlan(variant: TensorflowVariant, platform: Platform): TensorflowPlan {
  const { os, cpu, glibc } = platform;
  const [major, minor] = (glibc ?? '0.0').split('.').map(Number);
  if (os === 'linux' && cpu === 'x64' && (major > 2 || (major === 2 && minor >= 27))) {
    return PLANS[variant];
  }
  throw new SoftpackError(
    'UNSUPPORTED',
    'native TensorFlow cannot be installed here; the wasm backend runs everywhere',
    {
      field: 'platform',
      expected: 'linux x64 with glibc 2.27 or later',
      found: `${os} ${cpu}, ${glibc === undefined ? 'no glibc' : `glibc ${glibc}`}`,
    },
  );
}

/** Requirements of an extra, e.g. `and-cuda`, from a wheel's METADATA, without their markers. */
export function requirementsOfExtra(metadata: string, extra: string): string[] {
  const pattern = /^Requires-Dist:[ \t]*([^;\n]+);.*\bextra\s*==\s*["']([^"']+)["']/gm;
  return [...metadata.matchAll(pattern)]
    .filter(([, , name]) => name === extra)
    .map(([, requirement]) => requirement.replaceAll(/[\s()]/g, ''));
}

/** Members to unpack from a wheel: the two libraries with the C API and its headers; NVIDIA's libraries. */
export function isNeeded(path: string): boolean {
  return NEEDED.some((pattern) => pattern.test(path)) && !path.endsWith('/');
}

const NEEDED = [
  /^tensorflow\/libtensorflow_(cc|framework)\.so\.\d+$/,
  /^tensorflow\/include\/(tensorflow\/c|tensorflow\/core\/platform|xla\/tsl\/c|tsl)\//,
  // Included by tensorflow/c/kernels.h.
  /^tensorflow\/include\/tensorflow\/core\/common_runtime\/next_pluggable_device\/c\/.*\.h$/,
  /^nvidia\/[^/]+\/lib\/.*\.so[.\d]*$/,
  /^nvidia\/cuda_nvcc\/(bin\/ptxas$|nvvm\/libdevice\/)/,
];
