import type { Node } from '../../network/ops.ts';
import type { Field } from '../field.ts';
import { keyOf, type Values } from '../rule.ts';

/**
 * An eval-mode batch norm as factor * x + shift per channel: factor = gamma / sqrt(var + eps),
 * shift = beta - mean * factor. PyTorch, `torch.nn.BatchNorm2d`.
 */
export function batchNormAffine<T>(
  field: Field<T>,
  node: Node<'batchNorm'>,
  read: (key: string) => Values<T>,
): { readonly factor: Values<T>; readonly shift: Values<T> } {
  const gamma = read(keyOf(node, 'weight'));
  const beta = read(keyOf(node, 'bias'));
  const mean = read(keyOf(node, 'running_mean'));
  const variance = read(keyOf(node, 'running_var'));
  const eps = field.of(node.op.eps);
  const factor = field.array(gamma.length);
  const shift = field.array(gamma.length);
  for (let c = 0; c < gamma.length; c++) {
    factor[c] = field.div(gamma[c]!, field.sqrt(field.add(variance[c]!, eps)));
    shift[c] = field.sub(beta[c]!, field.mul(mean[c]!, factor[c]!));
  }
  return { factor, shift };
}
