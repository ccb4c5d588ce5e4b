/** Mistakes in fused convolutions: taps, padding, stride, dilation, and the branches of RepVGGDW. */
import { keyOf, type Match, type Rule } from '../../fused/rule.ts';
import { batchNormAffine } from '../../fused/rules/batch-norm.ts';
import { convBatchNorm } from '../../fused/rules/conv-batch-norm.ts';
import { repVggDw } from '../../fused/rules/repvggdw.ts';
import { isKind, type OpOf, type Pair } from '../../network/ops.ts';
import { at } from '../../network/shapes.ts';
import { allMatched, type FaultyRule, faulty, lenient, type Mistake, mapped, matched, type NodeOf } from './mistake.ts';
import { biased, biasUnscaled, fusedTwice, normFaults } from './norms.ts';

/** Where a convolution's taps come from: [O, I/groups, kh, kw] with `source(row, column)` for `[row, column]`. */
function moved(source: (row: number, column: number, kernel: Pair) => Pair | undefined): Mistake {
  return {
    fused: (field, match, right) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const kernel = match.op.kernel;
      const [height, width] = kernel;
      const area = height * width;
      const weight = mapped(field, right.weight!, (_, i) => {
        const from = source(Math.floor((i % area) / width), i % width, kernel);
        return from === undefined ? field.of(0) : right.weight![i - (i % area) + from[0] * width + from[1]]!;
      });
      return { ...right, weight };
    },
  };
}

const samePair = (a: Pair, b: Pair): boolean => a[0] === b[0] && a[1] === b[1];

const square = ({ op }: Match): boolean => op.kind === 'conv2d' && op.kernel[0] === op.kernel[1];

/** Mistakes in the geometry of any fused convolution. */
function kernelFaults(rule: Rule): readonly FaultyRule[] {
  return [
    faulty(
      'geo-flip',
      rule,
      moved((row, column, [height, width]) => [height - 1 - row, width - 1 - column]),
    ),
    faulty('geo-transpose', rule, { ...moved((row, column) => [column, row]), where: square }),
    faulty(
      'geo-shifted',
      rule,
      moved((row, column, [, width]) => (column + 1 < width ? [row, column + 1] : undefined)),
    ),
    faulty('geo-last-tap', rule, {
      fused: (field, _match, right) => {
        const last = right.weight!.length - 1;
        return { ...right, weight: mapped(field, right.weight!, (w, i) => (i === last ? field.of(0) : w)) };
      },
    }),
    faulty('num-one-weight-16', rule, {
      fused: (field, _match, right) => ({
        ...right,
        weight: mapped(field, right.weight!, (w, i) => (i === 0 ? field.mul(w, field.of(1 + 2 ** -16)) : w)),
      }),
    }),
    faulty('num-channel-swap', rule, {
      fused: (field, _match, right) => {
        const { bias } = right;
        if (bias === undefined) return right;
        return { ...right, bias: mapped(field, bias, (_, c) => bias[bias.length - 1 - c]!) };
      },
    }),
  ];
}

const isDepthwise = ({ op }: Match): boolean => op.kind === 'conv2d' && op.groups === op.outChannels && op.groups > 1;

/** The factor of the input channel, counted in its group, not of the output channel. */
const inputFactor: Mistake = {
  fused: (field, match, right, source) => {
    const { factor } = batchNormAffine(field, matched(match, 'batchNorm'), source);
    const { weights, op } = matched(match, 'conv2d');
    const kernel = source.read(weights.weight!);
    const area = op.kernel[0] * op.kernel[1];
    const inGroup = kernel.length / (area * factor.length);
    const weight = mapped(field, kernel, (tap, i) => {
      const input = Math.floor(i / area) % inGroup;
      return field.mul(tap, factor[input % factor.length]!);
    });
    return { ...right, weight };
  },
};

/** No stride is 0. */
const asStride = ({ padding }: OpOf<'conv2d'>): Pair => [Math.max(1, padding[0]), Math.max(1, padding[1])];

/** The fused convolution itself is made wrongly. */
function opMistake(wrong: (op: OpOf<'conv2d'>) => OpOf<'conv2d'>, where: (op: OpOf<'conv2d'>) => boolean): Mistake {
  return {
    op: (op) => (op.kind === 'conv2d' ? wrong(op) : op),
    where: ({ op }) => op.kind === 'conv2d' && where(op),
  };
}

export const convBatchNormFaults: readonly FaultyRule[] = [
  ...normFaults(convBatchNorm),
  ...kernelFaults(convBatchNorm),
  faulty('bn-conv-bias-unscaled', convBatchNorm, biasUnscaled),
  faulty('bn-axis', convBatchNorm, { ...inputFactor, where: (match) => !isDepthwise(match) }),
  faulty('bn-depthwise-axis', convBatchNorm, { ...inputFactor, where: isDepthwise }),
  faulty('life-fused-twice', convBatchNorm, fusedTwice),
  faulty(
    'geo-padding-zero',
    convBatchNorm,
    opMistake(
      (op) => ({ ...op, padding: [0, 0] }),
      ({ padding }) => padding[0] > 0 || padding[1] > 0,
    ),
  ),
  faulty(
    'geo-padding-as-stride',
    convBatchNorm,
    opMistake(
      (op) => ({ ...op, stride: asStride(op) }),
      (op) => !samePair(asStride(op), op.stride),
    ),
  ),
  faulty(
    'geo-pad-hw-swapped',
    convBatchNorm,
    opMistake(
      (op) => ({ ...op, padding: [op.padding[1], op.padding[0]] }),
      ({ padding }) => padding[0] !== padding[1],
    ),
  ),
  faulty(
    'geo-dilation-lost',
    convBatchNorm,
    opMistake(
      (op) => ({ ...op, dilation: [1, 1] }),
      ({ kernel, dilation }) => [0, 1].some((axis) => at(kernel, axis) > 1 && at(dilation, axis) > 1),
    ),
  ),
];

/** Faults of folding RepVGGDW's outer batch norm: the merged convolution has a bias, its branches' have none. */
export const outerNormFaults: readonly FaultyRule[] = [
  faulty('bn-outer-skipped', convBatchNorm, {
    where: biased,
    fused: (_field, match, _right, { take }) => {
      const conv = matched(match, 'conv2d');
      return { weight: take(keyOf(conv, 'weight')), bias: take(keyOf(conv, 'bias')) };
    },
  }),
  faulty('bn-outer-bias-unscaled', convBatchNorm, biasUnscaled),
];

/** Changes what is at the centre of every channel of the merged kernel by `change` ones. */
function identities(change: number): Mistake {
  return {
    fused: (field, match, right) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const area = match.op.kernel[0] * match.op.kernel[1];
      const centre = (area - 1) / 2;
      const weight = mapped(field, right.weight!, (w, i) => (i % area === centre ? field.add(w, field.of(change)) : w));
      return { ...right, weight };
    },
  };
}

/** The smaller branch: its kernel and its bias. */
function smallBranch(match: Match): NodeOf<'conv2d'> {
  const node = match.replaced.filter((candidate) => isKind(candidate, 'conv2d')).at(-1);
  if (!isKind(node, 'conv2d')) throw new Error('no branch is replaced');
  return node;
}

/** The smaller kernel laid on the larger one with its top left corner at `corner`, not on the centre. */
function placed(corner: (large: Pair, small: Pair) => Pair): Mistake {
  return {
    fused: (field, match, right, source) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const [height, width] = match.op.kernel;
      const branch = smallBranch(match);
      const [h, w] = branch.op.kernel;
      const taps = source.read(keyOf(branch, 'weight'));
      const weight = field.array(right.weight!.length);
      for (let i = 0; i < weight.length; i++) weight[i] = right.weight![i]!;
      const tapAt = (i: number, [top, left]: Pair) =>
        (Math.floor(i / (h * w)) * height + top + (Math.floor(i / w) % h)) * width + left + (i % w);
      const centre: Pair = [(height - h) / 2, (width - w) / 2];
      const wrong = corner([height, width], [h, w]);
      for (let i = 0; i < taps.length; i++) {
        const from = tapAt(i, centre);
        const to = tapAt(i, wrong);
        weight[from] = field.sub(weight[from]!, taps[i]!);
        weight[to] = field.add(weight[to]!, taps[i]!);
      }
      return { ...right, weight };
    },
  };
}

export const repVggDwFaults: readonly FaultyRule[] = [
  ...kernelFaults(repVggDw),
  faulty('geo-branch-omitted', repVggDw, {
    read: (field, match, key, { read }) => {
      const own = Object.values(smallBranch(match).weights).includes(key);
      return own ? mapped(field, read(key), () => field.of(0)) : read(key);
    },
  }),
  faulty('geo-branch-bias-lost', repVggDw, {
    read: (field, match, key, { read }) =>
      key === smallBranch(match).weights.bias ? mapped(field, read(key), () => field.of(0)) : read(key),
  }),
  // As many rows as there are channels in a group: of a depthwise convolution one.
  faulty('geo-identity-grouped', repVggDw, {
    fused: (field, match, right) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const area = match.op.kernel[0] * match.op.kernel[1];
      const isMissed = (i: number) => i >= area && i % area === (area - 1) / 2;
      return {
        ...right,
        weight: mapped(field, right.weight!, (w, i) => (isMissed(i) ? field.sub(w, field.of(1)) : w)),
      };
    },
  }),
  faulty('geo-identity-missing', repVggDw, identities(-1)),
  faulty('geo-identity-double', repVggDw, identities(1)),
  // A 1 at every tap, not at the centre alone.
  faulty('geo-identity-spread', repVggDw, {
    fused: (field, match, right) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const area = match.op.kernel[0] * match.op.kernel[1];
      const centre = (area - 1) / 2;
      const weight = mapped(field, right.weight!, (w, i) => (i % area === centre ? w : field.add(w, field.of(1))));
      return { ...right, weight };
    },
  }),
  // Padded by 1 on each side whatever the sizes: right where the larger kernel is larger by just 2.
  faulty('geo-pad-fixed', repVggDw, {
    ...placed(() => [1, 1]),
    where: (match) => {
      if (match.op.kind !== 'conv2d') return false;
      const [height, width] = match.op.kernel;
      const [h, w] = smallBranch(match).op.kernel;
      return height >= h + 2 && width >= w + 2 && height - h + width - w > 4;
    },
  }),
  faulty('geo-offset', repVggDw, {
    ...placed(([height, width], [h, w]) => [(height - h) / 2, (width - w) / 2 + 1]),
    where: (match) => match.op.kind === 'conv2d' && match.op.kernel[1] > smallBranch(match).op.kernel[1],
  }),
  ...outerNormFaults,
];

const half = (length: number): number => (length - 1) / 2;

/** With the padding that leaves the map's size, for a stride and a dilation of 1. */
const samePadded = (op: OpOf<'conv2d'>): OpOf<'conv2d'> => ({
  ...op,
  padding: [half(op.kernel[0]), half(op.kernel[1])],
});

/** An even kernel of dilation 2 reads as many rows and columns as an odd one. */
const asOdd = (op: OpOf<'conv2d'>): OpOf<'conv2d'> =>
  [0, 1].every((axis) => at(op.kernel, axis) === 2 && at(op.dilation, axis) === 2)
    ? samePadded({ ...op, kernel: [3, 3], dilation: [1, 1] })
    : op;

/** Branches merged that have no one convolution in common. */
export const mergingFaults: readonly FaultyRule[] = [
  {
    name: 'geo-dilation',
    rule: lenient(
      repVggDw,
      (op) => samePadded({ ...op, dilation: [1, 1] }),
      (op) => op,
    ),
  },
  {
    name: 'geo-stride-merge',
    rule: lenient(
      repVggDw,
      (op) => samePadded({ ...op, stride: [1, 1] }),
      (op, { stride, padding }) => ({ ...op, stride, padding }),
    ),
  },
  // The even kernel's taps in the upper left corner.
  faulty(
    'geo-even-centre',
    lenient(repVggDw, asOdd, (op) => op),
    {
      read: (field, match, key, { read }) => {
        const taps = read(key);
        const even = allMatched(match, 'conv2d').find(({ weights }) => weights.weight === key);
        if (even === undefined || taps.length !== even.op.outChannels * 4) return taps;
        return mapped(field, field.array(even.op.outChannels * 9), (_, i) => {
          const [row, column] = [Math.floor((i % 9) / 3), i % 3];
          return row < 2 && column < 2 ? taps[Math.floor(i / 9) * 4 + row * 2 + column]! : field.of(0);
        });
      },
      where: ({ op }) => op.kind === 'conv2d' && samePair(op.kernel, [3, 3]),
    },
  ),
];
