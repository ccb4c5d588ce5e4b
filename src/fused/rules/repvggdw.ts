import { isKind, type Node, type Pair } from '../../network/ops.ts';
import { keyOf, type Rule } from '../rule.ts';

type Conv = Node<'conv2d'>;

/** A depthwise convolution of `source` that leaves the map's size: its kernel has a centre, where a 1x1 would lie. */
export function isBranch(node: Node, source: string, channels: number): boolean {
  if (!isKind(node, 'conv2d') || node.inputs[0] !== source) return false;
  const { op } = node;
  const axes = [0, 1] as const;
  return (
    op.groups === channels &&
    op.outChannels === channels &&
    axes.every(
      (axis) =>
        op.stride[axis] === 1 &&
        (op.dilation[axis] === 1 || op.kernel[axis] === 1) &&
        op.kernel[axis] % 2 === 1 &&
        op.padding[axis] === (op.kernel[axis] - 1) / 2,
    )
  );
}

/**
 * The sum of RepVGGDW (RepViT, section 3.2): depthwise convolutions of one input and, where it is there, that input
 * itself, become one depthwise convolution. Smaller kernels are laid on the centre of the largest; the identity is a 1
 * at the centre. Current flavour: `conv-batch-norm` folds the outer BN afterwards; legacy: there is none.
 */
export const repVggDw: Rule = {
  name: 'repvggdw',
  match(last, graph) {
    if (!isKind(last, 'add')) return undefined;
    const branches = last.inputs.map((input) => graph.node(input));
    const channels = last.shape[1]!;
    const source = branches
      .flatMap((branch) => branch.inputs)
      .find((candidate) =>
        branches.every((branch) => branch.name === candidate || isBranch(branch, candidate, channels)),
      );
    if (source === undefined) return undefined;
    const convs = branches.filter((branch): branch is Conv => isBranch(branch, source, channels));
    const conv = convs[0];
    if (conv === undefined) return undefined;
    const largest = (axis: 0 | 1) => Math.max(...convs.map((branch) => branch.op.kernel[axis]));
    const kernel: Pair = [largest(0), largest(1)];
    const identities = branches.length - convs.length;
    const hasBias = convs.some((branch) => branch.op.bias);
    return {
      replaced: [...new Set(convs), last],
      carrier: conv,
      op: { ...conv.op, kernel, padding: [(kernel[0] - 1) / 2, (kernel[1] - 1) / 2], dilation: [1, 1], bias: hasBias },
      inputs: [source],
      weights: (field, { read }) => {
        const [height, width] = kernel;
        const weight = field.array(channels * height * width);
        const bias = field.array(channels);
        for (let i = 0; i < weight.length; i++) weight[i] = field.of(0);
        for (let c = 0; c < channels; c++) bias[c] = field.of(0);
        for (const branch of convs) {
          const taps = read(keyOf(branch, 'weight'));
          const [h, w] = branch.op.kernel;
          const top = (height - h) / 2;
          const left = (width - w) / 2;
          for (let i = 0; i < taps.length; i++) {
            const channel = Math.floor(i / (h * w));
            const row = Math.floor(i / w) % h;
            const to = (channel * height + top + row) * width + left + (i % w);
            weight[to] = field.add(weight[to]!, taps[i]!);
          }
          if (!branch.op.bias) continue;
          const shift = read(keyOf(branch, 'bias'));
          for (let c = 0; c < channels; c++) bias[c] = field.add(bias[c]!, shift[c]!);
        }
        const one = field.of(1);
        for (let identity = 0; identity < identities; identity++) {
          for (let c = 0; c < channels; c++) {
            const centre = (c * height + (height - 1) / 2) * width + (width - 1) / 2;
            weight[centre] = field.add(weight[centre]!, one);
          }
        }
        return hasBias ? { weight, bias } : { weight };
      },
    };
  },
};
