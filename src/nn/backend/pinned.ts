import type { Teacher } from '../teachers/teacher.js';
import type { BackendName } from './name.js';

/** What `auto` stands for on this machine: others must take the same. ONNX models know only that. */
export async function pinnedBackend(
  { kind }: Teacher['fingerprint'],
  backend: 'auto' | BackendName = 'auto',
): Promise<'auto' | BackendName> {
  if (backend !== 'auto' || kind === 'onnx') return backend;
  const { selectBackend } = await import('./select.js');
  return (await selectBackend({ backend })).name;
}
