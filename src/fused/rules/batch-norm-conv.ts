import { isKind, type Node } from '../../network/ops.ts';
import { type FusedWeights, keyOf, type Rule } from '../rule.ts';
import { batchNormAffine, foldInputAffine } from './batch-norm.ts';

/**
 * conv(bn(x)) = conv'(x), for a convolution without padding: the padding's zeros are not the BN's shift, so with padding
 * the two differ at the border.
 */
export const batchNormConv: Rule = {
  name: 'batch-norm-conv',
  match(last, graph) {
    if (!isKind(last, 'conv2d') || last.op.padding.some((pad) => pad > 0)) return undefined;
    const norm = graph.node(last.inputs[0]!);
    if (!isKind(norm, 'batchNorm')) return undefined;
    return {
      replaced: [last],
      shared: [norm],
      carrier: last,
      op: { ...last.op, bias: true },
      inputs: norm.inputs,
      weights: foldedConv(last, norm),
    };
  },
};

/** Weights of a convolution without padding that reads a batch norm. */
export function foldedConv(conv: Node<'conv2d'>, norm: Node<'batchNorm'>): FusedWeights {
  return (field, source) => {
    const { outChannels: outputs, groups, kernel } = conv.op;
    const weight = source.take(keyOf(conv, 'weight'));
    const bias = conv.op.bias ? source.read(keyOf(conv, 'bias')) : undefined;
    const layer = { weight, bias, outputs, groups, taps: kernel[0] * kernel[1] };
    return foldInputAffine(field, layer, batchNormAffine(field, norm, source));
  };
}
