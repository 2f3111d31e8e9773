import { readFileSync } from 'node:fs';
import os from 'node:os';

/** Facts of the machine that the numbers depend on. */
export function describeMachine(kernels) {
  const cpuinfo = read('/proc/cpuinfo');
  const field = (name) => cpuinfo.match(new RegExp(`^${name}\\s*: (.*)$`, 'm'))?.[1];
  const flags = new Set(field('flags')?.split(' ') ?? []);
  const governor = read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor').trim();
  return {
    processor: os.cpus()[0]?.model ?? os.arch(),
    family: field('cpu family'),
    model: field('model'),
    processors: os.availableParallelism(),
    isa: kernels.isa,
    extensions: ['avx2', 'avx512f', 'avx512_bf16', 'avx512_fp16', 'amx_tile', 'amx_bf16'].filter(
      (flag) => flags.has(flag),
    ),
    governor: governor || 'not readable',
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    load: os.loadavg()[0],
    platform: `${os.platform()} ${os.release()}`,
    node: process.version,
  };
}

export function machineLine(machine) {
  const { processor, family, model, processors, isa, extensions, governor, load } = machine;
  const kind = family === undefined ? '' : ` (family ${family}, model ${model})`;
  return (
    `${processor}${kind}, ${processors} processors, ${isa} kernels, has ${extensions.join(' ')}, ` +
    `governor ${governor}, load ${load.toFixed(1)}, Node.js ${machine.node}`
  );
}

/** Name of the kind of processor, for files. */
export function processorSlug({ processor, family, model }) {
  const kind = family === undefined ? '' : `-${family}-${model}`;
  return `${processor}${kind}`.toLowerCase().replace(/[^a-z0-9]+/g, '-');
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
