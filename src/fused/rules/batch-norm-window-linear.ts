import { isKind } from '../../network/ops.ts';
import { arrayOperations } from '../field.ts';
import { keyOf, type Rule } from '../rule.ts';
import { batchNormAffine } from './batch-norm.ts';

/**
 * fc3(factor_c x + shift_c) = factor_c fc3(x) + shift_c rowsum(fc3), for every channel c of a share-set: the batch norm
 * before fc3 cannot go into its weights, which the channels of a share-set have in common, but moves behind it, as a
 * scale per channel and a rank-one bias.
 */
export const batchNormWindowLinear: Rule = {
  name: 'batch-norm-window-linear',
  match(last, graph) {
    if (!isKind(last, 'windowLinear') || last.op.affine) return undefined;
    const norm = graph.node(last.inputs[0]!);
    if (!isKind(norm, 'batchNorm')) return undefined;
    return {
      replaced: [last],
      shared: [norm],
      carrier: last,
      op: { ...last.op, affine: true },
      inputs: norm.inputs,
      weights: (field, source) => {
        const { sum } = arrayOperations(field);
        const { factor: scale, shift } = batchNormAffine(field, norm, source);
        const weight = source.take(keyOf(last, 'weight'));
        const pixels = last.op.window[0] * last.op.window[1];
        const rowSum = field.array(weight.length / pixels);
        for (let row = 0; row < rowSum.length; row++) {
          rowSum[row] = sum(field.of(0), weight, row * pixels, (row + 1) * pixels);
        }
        const bias = last.op.bias ? { bias: source.take(keyOf(last, 'bias')) } : {};
        return { weight, ...bias, scale, shift, row_sum: rowSum };
      },
    };
  },
};
