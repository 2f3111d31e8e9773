// Calls every method of an addon with arguments that no caller of the library could send: valid calls with some
// arguments replaced. Each must do its work or throw; whatever else happens ends the process. Prints, as JSON, how
// many calls of each method did and threw.
// Arguments: the addon, the number of calls, a seed.
import { createRequire } from 'node:module';
import fc from 'fast-check';

const [file, count, seed] = process.argv.slice(2);
const addon = createRequire(import.meta.url)(file);

const f32 = (length) => new Float32Array(length).fill(0.5);
const u8 = (length) => new Uint8Array(length);
const u16 = (length) => new Uint16Array(length);
const i16 = (length) => new Int16Array(length);
const i8 = (length) => new Int8Array(length);
const f64 = (length) => new Float64Array(length);
const u32 = (length) => new Uint32Array(length);
/** One table, in which every value is 0. */
const frequencies = () => u16(256).fill(4096, 128, 129);
const view = () => Int32Array.of(0, 0, 0, 2, 2, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0);

const encoderArgs = () => [f32(30), f32(12), 5, 6, 3, 2];
// Two classes, two stages of three codewords of two floats, two bits; the head clamps.
const decoderArgs = () => {
  const sizes = [2, 4, 2, 3, 2, 0, 2, 2];
  return [f32(6), f32(8), null, ...sizes, 1, 1e-6, 0, 0, null, 0];
};
const labels = () => [u8(2), null, 0, 3, null, null];

const CALLS = {
  project: () => [f32(6), f32(12), f32(8), 2, 3, 4, false, false, false, 1],
  projectAsync: () => [f32(6), f32(12), f32(8), 2, 3, 4, false, true, true, 2],
  nearest: () => [f32(6), f32(9), u16(2), 3, 1],
  nearestAsync: () => [f32(6), f32(9), u16(2), 3, 0],
  pack: () => [u16(7), 5, u8(6), 3],
  unpack: () => [u8(6), 5, u16(7), 3],
  augment: () => [
    ...[[u8(12)], Uint32Array.of(2, 2), view(), f32(1), f32(12)],
    ...[2, 2, f32(3), f32(3), 1, 0, 1],
  ],
  augmentAsync: () => [
    ...[[u8(12)], Uint32Array.of(2, 2), view(), f32(1), f32(12)],
    ...[2, 2, f32(3), f32(3), 2, 1, 0],
  ],
  decodeRans: () => [
    Uint8Array.of(0, 0, 0, 0, 1, 0),
    u32(4096).fill(4095),
    ...[u16(2), 3, 4, i16(3)],
  ],
  encodeRans: () => [i16(3), frequencies(), u16(2), 3, 4, 0, u8(200), u32(1)],
  decodeTokens: () => [
    ...[u32(9).map((_, i) => i), 3, 2, 2, 1, true, f32(768), f32(3)],
    ...[u8(40).fill(0x5a), 3, u32(1), 1, new Int32Array(20), f32(20)],
  ],
  encodeTokens: () => [
    ...[u32(9).map((_, i) => i), 3, 2, 0, 0, true, u32(2).fill(3)],
    ...[Uint32Array.of(4, 7, 1, 2, 0, 8), f32(6), null, u32(4), u8(200), 5, u32(0), u32(1)],
  ],
  centreLogits: () => [f32(6), f32(3), 3, 87, f32(6), 1],
  quantise: () => [f32(6), i8(2), f64(1024), 0.5, 4, i16(6), 1],
  dequantise: () => [i16(6), i8(2), 0.5, 8, f32(6), 2],
  info: () => [],
  statusText: () => [3],
  openModule: () => ['/nonexistent/module.so'],
  'new Encoder': encoderArgs,
  'Encoder.encode': () => [f32(10), u8(1), 1],
  'Encoder.encodeAsync': () => [f32(10), u8(1), 2],
  'Encoder.dispose': () => [],
  'new Decoder': decoderArgs,
  'Decoder.decode': () => [...labels(), f32(6), 0, 1],
  'Decoder.decodeAsync': () => [...labels(), u16(6), 1, 2],
  'Decoder.decodeKl': () => [...labels(), f32(6), f32(3), f32(6), 1, 1, 0, 1],
  'Decoder.decodeKlAsync': () => [...labels(), f32(6), null, f32(6), 1, 1, 1, 2],
  'Decoder.dispose': () => [],
  'Decoder.method': () => [],
  'Decoder.bytes': () => [],
  'new LatentDecoder': () => [f32(6), f32(3), 3, true],
  'LatentDecoder.decode': () => [f32(4), 2, f32(6), 0, 1],
  'LatentDecoder.decodeAsync': () => [f32(4), 2, u16(6), 1, 2],
  'LatentDecoder.dispose': () => [],
};

const TYPES = [
  Float32Array,
  Float64Array,
  Uint8Array,
  Uint16Array,
  Uint32Array,
  Int32Array,
  Int16Array,
  Int8Array,
  DataView,
];

function detached(Type, bytes) {
  const array = new Type(new ArrayBuffer(bytes));
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** A view that the end of its buffer has passed by. */
function shrunk(Type, bytes) {
  const buffer = new ArrayBuffer(bytes, { maxByteLength: 2 * bytes + 8 });
  const array = new Type(buffer);
  buffer.resize((bytes >> 4) << 3);
  return array;
}

/** A list whose getter takes the memory of an earlier element away. */
function treacherous() {
  const first = u8(12);
  return Object.defineProperty([first, undefined], 1, {
    get: () => {
      structuredClone(first.buffer, { transfer: [first.buffer] });
      return u8(12);
    },
  });
}

const number = fc.oneof(
  fc.constantFrom(-1, -0, 0, 1, 2, 3, 7, 16, 17, 255, 256, 257, 65535, 65536, 2 ** 31 - 1, 2 ** 31),
  fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 52, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64),
  fc.constantFrom(0.5, 1e-45, 1e308, Number.NaN, Infinity, -Infinity),
);
const memory = fc
  .record({
    Type: fc.constantFrom(...TYPES),
    units: fc.oneof(fc.nat(16), fc.constantFrom(64, 1024, 4096)),
    kind: fc.nat(4),
    fill: fc.constantFrom(0, 1, 0x7f, 0xff),
  })
  .map(({ Type, units, kind, fill }) => {
    const bytes = 8 * units;
    if (kind === 0) return detached(Type, bytes);
    if (kind === 1) return shrunk(Type, bytes);
    const buffer = kind === 2 ? new SharedArrayBuffer(bytes + 8) : new ArrayBuffer(bytes + 8);
    new Uint8Array(buffer).fill(fill);
    return new Type(buffer, 8);
  });
const other = fc.constantFrom(
  ...[undefined, null, true, false, '', '3', 12n, Symbol('s'), {}, [], () => 1, new Array(2 ** 31)],
  ...[[undefined], [u8(12), 1], [u8(0)], new Proxy(f32(4), {}), new ArrayBuffer(8)],
);
const hostile = fc.oneof(
  { weight: 4, arbitrary: number },
  { weight: 6, arbitrary: memory },
  { weight: 2, arbitrary: other },
  { weight: 1, arbitrary: fc.constant('treacherous') },
);
const changes = fc.array(fc.tuple(fc.nat(16), hostile), { maxLength: 3 });
const plan = fc.record({
  name: fc.constantFrom(...Object.keys(CALLS)),
  changes,
  /** Changes to the arguments of the constructor, whose object the method is called on. */
  made: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, changes),
  receiver: fc.oneof(
    { weight: 9, arbitrary: fc.constant('own') },
    fc.constantFrom('other', 'none'),
  ),
  disposed: fc.nat(9).map((chance) => chance === 0),
  /** Two arguments that share their memory. */
  shared: fc.option(fc.tuple(fc.nat(8), fc.nat(8)), { freq: 3 }),
});

function spoil(args, replacements, shared) {
  for (const [at, value] of replacements) {
    if (at <= args.length) args[at] = value === 'treacherous' ? treacherous() : value;
  }
  const [from, to] = shared ?? [];
  if (ArrayBuffer.isView(args[from])) args[to] = args[from];
  return args;
}

function call({ name, changes, made, receiver, disposed, shared }) {
  const args = spoil(CALLS[name](), changes, shared);
  if (name.startsWith('new ')) return new addon[name.slice(4)](...args);
  const [type, method] = name.split('.');
  if (method === undefined) return addon[type](...args);
  const object = new addon[type](...spoil(CALLS[`new ${type}`](), made));
  if (disposed) object.dispose();
  if (receiver === 'own') return object[method](...args);
  const otherType = type === 'Encoder' ? 'Decoder' : 'Encoder';
  const stranger = receiver === 'none' ? {} : new addon[otherType](...CALLS[`new ${otherType}`]());
  const property = Object.getOwnPropertyDescriptor(addon[type].prototype, method);
  return (property.value ?? property.get).apply(stranger, args);
}

const outcomes = {};
await fc.assert(
  fc.asyncProperty(plan, async (drawn) => {
    outcomes[drawn.name] ??= { done: 0, refused: 0 };
    try {
      await call(drawn);
      outcomes[drawn.name].done++;
    } catch (error) {
      if (
        !(error instanceof Error) ||
        !/:|invocation|not callable|Class|memory/.test(error.message)
      )
        throw error;
      outcomes[drawn.name].refused++;
    }
  }),
  { numRuns: Number(count), seed: Number(seed), endOnFailure: true },
);
console.log(JSON.stringify(outcomes));
