import { isKind } from '../../network/ops.ts';
import { keyOf, type Rule } from '../rule.ts';
import { batchNormAffine } from './batch-norm.ts';

/**
 * linear(bn(x)) = linear'(x): column i of the weight times the BN's factor i; bias' = weight * shift + bias.
 */
export const batchNormLinear: Rule = {
  name: 'batch-norm-linear',
  match(last, graph) {
    if (!isKind(last, 'linear')) return undefined;
    const norm = graph.node(last.inputs[0]!);
    if (!isKind(norm, 'batchNorm')) return undefined;
    return {
      replaced: [norm, last],
      op: { ...last.op, bias: true },
      inputs: norm.inputs,
      weights: (field, read) => {
        const { factor, shift } = batchNormAffine(field, norm, read);
        const matrix = read(keyOf(last, 'weight'));
        const linearBias = last.op.bias ? read(keyOf(last, 'bias')) : undefined;
        const features = factor.length;
        const weight = field.array(matrix.length);
        const bias = field.array(last.op.outFeatures);
        for (let o = 0; o < bias.length; o++) {
          let total = linearBias === undefined ? field.of(0) : linearBias[o]!;
          for (let i = 0; i < features; i++) {
            const entry = matrix[o * features + i]!;
            weight[o * features + i] = field.mul(entry, factor[i]!);
            total = field.add(total, field.mul(entry, shift[i]!));
          }
          bias[o] = total;
        }
        return { weight, bias };
      },
    };
  },
};
