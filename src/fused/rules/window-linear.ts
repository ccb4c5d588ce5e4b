import { isKind } from '../../network/ops.ts';
import { keyOf, type Rule } from '../rule.ts';

/**
 * departition(fc3(partition(x))) as one op, so that an engine can compute it as a batched matrix product. The weights are
 * the same.
 */
export const windowLinear: Rule = {
  name: 'window-linear',
  match(last, graph) {
    if (!isKind(last, 'departition')) return undefined;
    const fc3 = graph.node(last.inputs[0]!);
    if (!isKind(fc3, 'setLinear')) return undefined;
    const partition = graph.node(fc3.inputs[0]!);
    if (!isKind(partition, 'partition')) return undefined;
    const source = graph.node(partition.inputs[0]!);
    // Windows that are put back in another order than they were cut are another map.
    if (!source.shape.every((dimension, axis) => dimension === last.shape[axis])) return undefined;
    const { window, sets } = partition.op;
    return {
      replaced: [partition, fc3, last],
      carrier: fc3,
      op: { kind: 'windowLinear', window, sets, bias: fc3.op.bias, affine: false },
      inputs: partition.inputs,
      weights: (_field, { take }) => {
        const weight = take(keyOf(fc3, 'weight'));
        return fc3.op.bias ? { weight, bias: take(keyOf(fc3, 'bias')) } : { weight };
      },
    };
  },
};
