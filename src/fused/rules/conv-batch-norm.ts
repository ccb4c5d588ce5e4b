import { isKind } from '../../network/ops.ts';
import { arrayOperations } from '../field.ts';
import { keyOf, type Rule } from '../rule.ts';
import { batchNormAffine } from './batch-norm.ts';

/**
 * bn(conv(x)) = conv'(x): each output channel's filter times the BN's factor; bias' = bias * factor + shift.
 * Any kernel, stride, padding, dilation and groups: the BN stands behind the convolution, so padding is untouched.
 */
export const convBatchNorm: Rule = {
  name: 'conv-batch-norm',
  match(last, graph) {
    if (!isKind(last, 'batchNorm')) return undefined;
    const conv = graph.node(last.inputs[0]!);
    if (!isKind(conv, 'conv2d')) return undefined;
    return {
      replaced: [conv, last],
      carrier: conv,
      op: { ...conv.op, bias: true },
      inputs: conv.inputs,
      weights: (field, source) => {
        const { scale } = arrayOperations(field);
        const { factor, shift } = batchNormAffine(field, last, source);
        const kernel = source.read(keyOf(conv, 'weight'));
        const taps = kernel.length / factor.length;
        const weight = field.array(kernel.length);
        const bias = field.array(factor.length);
        const convBias = conv.op.bias ? source.read(keyOf(conv, 'bias')) : undefined;
        for (let o = 0; o < factor.length; o++) {
          const f = factor[o]!;
          scale(weight, kernel, o * taps, (o + 1) * taps, f);
          bias[o] = convBias === undefined ? shift[o]! : field.add(field.mul(convBias[o]!, f), shift[o]!);
        }
        return { weight, bias };
      },
    };
  },
};
