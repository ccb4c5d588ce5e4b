import { isKind, type Node } from '../../network/ops.ts';
import { type Graph, keyOf, type Match, type Rule } from '../rule.ts';
import { convBatchNorm } from './conv-batch-norm.ts';
import { isBranch } from './repvggdw.ts';

type Conv = Node<'conv2d'>;

/** A convolution of the local perceptron: as it is, or with a batch norm that is still to be folded. */
interface Branch {
  readonly conv: Conv;
  readonly folded: Match | undefined;
}

function branchOf(node: Node, source: string, sets: number, graph: Graph): Branch | undefined {
  const folded = convBatchNorm.match(node, graph);
  const conv = folded === undefined ? node : folded.replaced[0]!;
  return isKind(conv, 'conv2d') && isBranch(conv, source, sets) ? { conv, folded } : undefined;
}

/**
 * fc3(x) + conv1(x) + ... = fc3'(x), on windows: a depthwise convolution is itself a fully connected layer over the
 * window's pixels, with each tap on the diagonal of its offset. The taps are placed there directly; a tap that falls on
 * the padding is nowhere. RepMLPNet, section 3.3 (locality injection).
 */
export const localityInjection: Rule = {
  name: 'locality-injection',
  match(last, graph) {
    if (!isKind(last, 'add')) return undefined;
    const terms = last.inputs.map((input) => graph.node(input));
    const fc3 = terms.find((term) => isKind(term, 'setLinear'));
    const source = fc3?.inputs[0];
    if (!isKind(fc3, 'setLinear') || source === undefined) return undefined;
    const [, sets = 0, height = 0, width = 0] = last.shape;
    const branches = terms
      .filter((term) => term !== fc3)
      .map((term) => branchOf(term, source, sets, graph))
      .filter((branch) => branch !== undefined);
    if (branches.length + 1 !== terms.length) return undefined;
    return {
      replaced: [...branches.flatMap(({ conv, folded }) => folded?.replaced ?? [conv]), fc3, last],
      carrier: fc3,
      op: { kind: 'setLinear', bias: true },
      inputs: [source],
      weights: (field, source) => {
        const pixels = height * width;
        const weight = source.take(keyOf(fc3, 'weight'));
        const bias = fc3.op.bias ? source.take(keyOf(fc3, 'bias')) : field.array(sets * pixels);
        if (!fc3.op.bias) for (let row = 0; row < bias.length; row++) bias[row] = field.of(0);
        for (const { conv, folded } of branches) {
          const fused = folded?.weights(field, source);
          const taps = fused?.weight ?? source.read(keyOf(conv, 'weight'));
          const shift = fused?.bias ?? (conv.op.bias ? source.read(keyOf(conv, 'bias')) : undefined);
          const [kh, kw] = conv.op.kernel;
          for (let row = 0; row < bias.length; row++) {
            const set = Math.floor(row / pixels);
            const y = Math.floor((row % pixels) / width);
            const x = row % width;
            for (let tap = 0; tap < kh * kw; tap++) {
              const fromY = y + Math.floor(tap / kw) - conv.op.padding[0];
              const fromX = x + (tap % kw) - conv.op.padding[1];
              if (fromY < 0 || fromY >= height || fromX < 0 || fromX >= width) continue;
              const to = row * pixels + fromY * width + fromX;
              weight[to] = field.add(weight[to]!, taps[set * kh * kw + tap]!);
            }
            if (shift !== undefined) bias[row] = field.add(bias[row]!, shift[set]!);
          }
        }
        return { weight, bias };
      },
    };
  },
};
