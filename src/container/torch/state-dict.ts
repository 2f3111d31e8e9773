import { invalidFile } from '../../errors.js';
import type { TorchFile } from './torch-file.js';
import { describeValue, PickleDict, TorchTensor } from './values.js';

/** Where training scripts keep the weights in a checkpoint. */
const NESTED = ['state_dict', 'model', 'model_state_dict', 'net', 'teacher'] as const;
/** Prefixes that `DataParallel` and `torch.compile` add. */
const PREFIXES = /^(module\.|_orig_mod\.)+/;

/**
 * Tensors of a checkpoint by name: of a `state_dict` itself, or of the one in a dict with further entries (epoch,
 * optimiser). Prefixes of `DataParallel` and `torch.compile` are removed. Other entries of a state_dict are skipped.
 *
 * @throws `INVALID_FILE` if there is no such dict, or if two names become one.
 */
export function stateDictOf({ root, name: file }: TorchFile): ReadonlyMap<string, TorchTensor> {
  const nested = root instanceof PickleDict ? NESTED.map((key) => root.get(key)) : [];
  const dict = nested.find((value) => value instanceof PickleDict) ?? root;
  const tensors = new Map<string, TorchTensor>();
  if (dict instanceof PickleDict) {
    for (const [key, value] of dict) {
      if (!(value instanceof TorchTensor)) continue;
      const name = String(key).replace(PREFIXES, '');
      if (tensors.has(name)) throw invalidFile(file, name, 'tensor occurs twice');
      tensors.set(name, value);
    }
  }
  if (tensors.size > 0) return tensors;
  throw invalidFile(file, 'content', 'no state_dict', {
    expected: `a dict of tensors, or one with ${NESTED.join(', ')}`,
    found: describeValue(root),
  });
}
