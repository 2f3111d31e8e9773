import { loadOnnx } from './onnx.mjs';
import { loadPeers } from './peers.mjs';
import { loadTensorflow } from './tensorflow.mjs';

/** All available rivals: their versions, the sources of their contenders, and the reasons why others are missing. */
export async function loadRivals({ threads, compiled }) {
  const loaded = [
    await loadOnnx(),
    await loadTensorflow(threads),
    await loadPeers({ threads, compiled }),
  ];
  const some = (field) => loaded.flatMap((rival) => rival[field] ?? []);
  return {
    versions: some('version'),
    reasons: some('reason'),
    sources: some('contenders'),
    async close() {
      for (const close of some('close')) await close();
    },
  };
}
