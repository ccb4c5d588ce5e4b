import { isKind } from '../../network/ops.ts';
import { arrayOperations } from '../field.ts';
import { keyOf, type Rule } from '../rule.ts';
import { batchNormAffine } from './batch-norm.ts';

/**
 * bn(fc3(x)) = fc3'(x): the BN has one channel per share-set, fc3 one row per pixel of one, so each factor goes to the
 * h*w rows of its share-set (`repeat_interleave`, not `repeat`). RepMLPNet, section 3.3.
 */
export const setLinearBatchNorm: Rule = {
  name: 'set-linear-batch-norm',
  match(last, graph) {
    if (!isKind(last, 'batchNorm')) return undefined;
    const fc3 = graph.node(last.inputs[0]!);
    if (!isKind(fc3, 'setLinear')) return undefined;
    return {
      replaced: [fc3, last],
      carrier: fc3,
      op: { kind: 'setLinear', bias: true },
      inputs: fc3.inputs,
      weights: (field, source) => {
        const { scale } = arrayOperations(field);
        const { factor, shift } = batchNormAffine(field, last, source);
        const weight = source.take(keyOf(fc3, 'weight'));
        const old = fc3.op.bias ? source.read(keyOf(fc3, 'bias')) : undefined;
        const pixels = last.shape[2]! * last.shape[3]!;
        const bias = field.array(factor.length * pixels);
        for (let row = 0; row < bias.length; row++) {
          const set = Math.floor(row / pixels);
          const f = factor[set]!;
          scale(weight, weight, row * pixels, (row + 1) * pixels, f);
          bias[row] = old === undefined ? shift[set]! : field.add(field.mul(old[row]!, f), shift[set]!);
        }
        return { weight, bias };
      },
    };
  },
};
