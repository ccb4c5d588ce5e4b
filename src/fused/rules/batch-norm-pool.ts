import { isKind } from '../../network/ops.ts';
import { keyOf, type Rule } from '../rule.ts';
import { batchNormAffine, foldInputAffine } from './batch-norm.ts';

/**
 * layer(pool(bn(x))) = layer'(pool(x)) for a linear layer, or a convolution without padding, on the pooled map: the mean
 * commutes with an affine map per channel.
 */
export const batchNormPool: Rule = {
  name: 'batch-norm-pool',
  match(last, graph) {
    const isLinear = isKind(last, 'linear');
    const isConv = isKind(last, 'conv2d') && last.op.padding.every((pad) => pad === 0);
    if (!isLinear && !isConv) return undefined;
    const pool = graph.node(last.inputs[0]!);
    if (!isKind(pool, 'globalAvgPool')) return undefined;
    const norm = graph.node(pool.inputs[0]!);
    if (!isKind(norm, 'batchNorm')) return undefined;
    const { op } = last;
    return {
      replaced: [last],
      shared: [norm],
      rewired: [{ node: pool, inputs: norm.inputs }],
      carrier: last,
      op: { ...op, bias: true },
      inputs: [pool.name],
      weights: (field, source) => {
        const outputs = op.kind === 'linear' ? op.outFeatures : op.outChannels;
        const groups = op.kind === 'linear' ? 1 : op.groups;
        const weight = source.take(keyOf(last, 'weight'));
        const bias = op.bias ? source.read(keyOf(last, 'bias')) : undefined;
        // On a pooled map a kernel has one tap.
        return foldInputAffine(field, { weight, bias, outputs, groups, taps: 1 }, batchNormAffine(field, norm, source));
      },
    };
  },
};
