import { isKind } from '../../network/ops.ts';
import { keyOf, type Rule } from '../rule.ts';
import { batchNormAffine, foldInputAffine } from './batch-norm.ts';

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
      replaced: [last],
      shared: [norm],
      carrier: last,
      op: { ...last.op, bias: true },
      inputs: norm.inputs,
      weights: (field, source) => {
        const weight = source.take(keyOf(last, 'weight'));
        const bias = last.op.bias ? source.read(keyOf(last, 'bias')) : undefined;
        const layer = { weight, bias, outputs: last.op.outFeatures, groups: 1, taps: 1 };
        return foldInputAffine(field, layer, batchNormAffine(field, norm, source));
      },
    };
  },
};
