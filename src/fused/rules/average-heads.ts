import { isKind, type Node } from '../../network/ops.ts';
import type { Field } from '../field.ts';
import { keyOf, type OwnValues, type Rule, type Values } from '../rule.ts';

/**
 * factor * (linear1(x) + linear2(x) + ...) = linear'(x): the classifier's two heads (distillation) into one.
 */
export const averageHeads: Rule = {
  name: 'average-heads',
  match(last, graph) {
    if (!isKind(last, 'scale')) return undefined;
    const sum = graph.node(last.inputs[0]!);
    if (!isKind(sum, 'add')) return undefined;
    const heads = sum.inputs
      .map((input) => graph.node(input))
      .filter((node): node is Node<'linear'> => isKind(node, 'linear'));
    const first = heads[0];
    if (first === undefined || heads.length !== sum.inputs.length) return undefined;
    if (heads.some((head) => head.inputs[0] !== first.inputs[0])) return undefined;
    const hasBias = heads.some((head) => head.op.bias);
    return {
      replaced: [...new Set(heads), sum, last],
      carrier: first,
      op: { ...first.op, bias: hasBias },
      inputs: first.inputs,
      weights: (field, { read }) => {
        const factor = field.of(last.op.factor);
        const weight = scaledSum(
          field,
          factor,
          heads.map((head) => read(keyOf(head, 'weight'))),
        );
        if (!hasBias) return { weight };
        const biases = heads.filter((head) => head.op.bias).map((head) => read(keyOf(head, 'bias')));
        return { weight, bias: scaledSum(field, factor, biases) };
      },
    };
  },
};

/** factor * (a + b + ...), element by element. */
function scaledSum<T>(field: Field<T>, factor: T, terms: readonly Values<T>[]): OwnValues<T> {
  const [first, ...rest] = terms;
  const sum = field.array(first!.length);
  for (let i = 0; i < sum.length; i++) {
    let total: T = first![i]!;
    for (const term of rest) total = field.add(total, term[i]!);
    sum[i] = field.mul(total, factor);
  }
  return sum;
}
