import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string) => readFileSync(root + file, 'utf8');

const typescript = read('src/kernels/addon.ts');
const binding = readdirSync(`${root}native/binding`)
  .filter((file) => file.endsWith('.cc'))
  .map((file) => read(`native/binding/${file}`))
  .join('\n');

/** `name: type` of each parameter, in order, without spaces and remarks. */
function parametersOf(list: string): string[] {
  const plain = list.replace(/\/\*\*.*?\*\/|\/\/|\s+|readonly/gs, '');
  return plain.split(',').filter((parameter) => parameter !== '');
}

/** The parameters of a tuple type of addon.ts; a tuple spread into it comes first. */
function tuple(name: string): string[] {
  const body = new RegExp(`type ${name} = \\[(.*?)\\n?\\];`, 's').exec(typescript)?.[1] ?? '';
  const spread = /\.\.\.(\w+),/.exec(body);
  const own = parametersOf(body.replace(/\.\.\.\w+,/, ''));
  return spread?.[1] === undefined ? own : [...tuple(spread[1]), ...own];
}

/** The parameters in the comment above a method of the binding. */
function commented(start: string): string[] {
  const at = binding.indexOf(`// ${start}(`);
  const list = /\((.*?)\)/s.exec(binding.slice(at))?.[1] ?? '';
  return at < 0 ? [] : parametersOf(list);
}

it.each([
  ['project', 'NativeProjectArgs'],
  ['nearest', 'NativeNearestArgs'],
  ['augment', 'NativeAugmentArgs'],
  ['new (projection', 'NativeEncoderArgs'],
  ['new (codebooks', 'NativeDecoderArgs'],
  ['decode', 'NativeDecodeArgs'],
])('%s has the parameters that its comment in C++ says', (name, type) => {
  const aliased: Record<string, string> = {
    NativeDeviceBytes: 'DeviceBytes',
    LabelArray: 'Float32Array|Uint16Array',
  };
  const [method, first] = name.split('(');
  const at = first === undefined ? undefined : binding.indexOf(`// ${name}`);
  const found =
    at === undefined
      ? commented(method as string)
      : parametersOf(/\((.*?)\)/s.exec(binding.slice(at))?.[1] ?? '');
  const expected = tuple(type).map((parameter) =>
    parameter.replace(/NativeDeviceBytes|LabelArray/g, (word) => aliased[word] ?? word),
  );
  expect(expected.length).toBeGreaterThan(2);
  expect(found).toEqual(expected);
});

it('every native method has a signature above it', () => {
  const definition = /(?:InstanceMethod<&\w+::\w+>\(|method\(|Function::New\(env, \w+, )"(\w+)"/g;
  const checked = [...binding.matchAll(definition)].map(([, name]) => name as string);
  expect(checked.length).toBeGreaterThan(15);
  for (const name of checked) expect([name, binding.includes(`// ${name}(`)]).toEqual([name, true]);
});
