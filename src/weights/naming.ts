import type { Weights } from '../network/tensor.ts';

/** What training scripts put before every key: DataParallel, torch.compile, and dictionaries around the state dict. */
const WRAPPERS = ['module.', '_orig_mod.', 'model.', 'state_dict.'];

/** The weights without a prefix that all keys have in common, as checkpoints of wrapped models carry it. */
export function withoutWrapper(weights: Weights): Weights {
  const keys = [...weights.keys()];
  const wrapper = WRAPPERS.find((prefix) => keys.length > 0 && keys.every((key) => key.startsWith(prefix)));
  if (wrapper === undefined) return weights;
  return withoutWrapper(new Map([...weights].map(([key, tensor]) => [key.slice(wrapper.length), tensor])));
}
