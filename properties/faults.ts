/** Planted faults: known mistakes in fusing, each as a faulty copy of the rule that it would be made in. */
import type { Field } from '../src/fused/field.ts';
import { keyOf, type Match, type Rule, type Values } from '../src/fused/rule.ts';
import { averageHeads } from '../src/fused/rules/average-heads.ts';
import { batchNormAffine } from '../src/fused/rules/batch-norm.ts';
import { batchNormLinear } from '../src/fused/rules/batch-norm-linear.ts';
import { convBatchNorm } from '../src/fused/rules/conv-batch-norm.ts';
import { repVggDw } from '../src/fused/rules/repvggdw.ts';
import { isKind, type Node, type Op, type OpKind, type Pair, type Role } from '../src/network/ops.ts';
import { at } from '../src/network/shapes.ts';

type Read<T> = (key: string) => Values<T>;
type Fused<T> = Partial<Record<Role, Values<T>>>;

/** What is done wrong; each part defaults to what is right. */
interface Mistake {
  /** In reading one of the replaced nodes' tensors. */
  readonly read?: <T>(field: Field<T>, match: Match, key: string, read: Read<T>) => Values<T>;
  /** In the fused weights. */
  readonly fused?: <T>(field: Field<T>, match: Match, right: Fused<T>, read: Read<T>) => Fused<T>;
  /** In the fused node. */
  readonly op?: (op: Op) => Op;
  /** Only where this holds of the match. */
  readonly where?: (match: Match) => boolean;
}

export interface Fault {
  readonly name: string;
  readonly rule: Rule;
}

function fault(name: string, rule: Rule, { read, fused, op, where = () => true }: Mistake): Fault {
  const faulty: Rule = {
    name: rule.name,
    match(last, graph) {
      const match = rule.match(last, graph);
      if (match === undefined || !where(match)) return match;
      return {
        ...match,
        op: op?.(match.op) ?? match.op,
        weights: (field, given) => {
          const misread: typeof given = (key) => read?.(field, match, key, given) ?? given(key);
          const result = match.weights(field, misread);
          return fused?.(field, match, result, given) ?? result;
        },
      };
    },
  };
  return { name, rule: faulty };
}

function mapped<T>(field: Field<T>, values: Values<T>, f: (value: T, index: number) => T): Values<T> {
  const result = field.array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = f(values[i]!, i);
  return result;
}

function replaced<K extends OpKind>(match: Match, kind: K): Extract<Node, { readonly op: { readonly kind: K } }> {
  const node = match.replaced.find((candidate) => isKind(candidate, kind));
  if (!isKind(node, kind)) throw new Error(`no ${kind} is replaced`);
  return node;
}

/** A mistake in reading one of the batch norm's vectors. */
function normMistake(
  role: Role,
  change: <T>(field: Field<T>, value: T, eps: T, values: Values<T>, index: number) => T,
): Mistake {
  return {
    read: (field, match, key, read) => {
      const values = read(key);
      const norm = replaced(match, 'batchNorm');
      if (key !== norm.weights[role]) return values;
      const eps = field.of(norm.op.eps);
      return mapped(field, values, (value, i) => change(field, value, eps, values, i));
    },
  };
}

/** Mistakes in folding a batch norm, whatever it is folded into. */
function normFaults(rule: Rule): readonly Fault[] {
  const zero = normMistake('bias', (field) => field.of(0));
  return [
    // eps of TensorFlow's default
    fault(
      'bn-eps-tf',
      rule,
      normMistake('running_var', (f, v, eps) => f.add(v, f.sub(f.of(1e-3), eps))),
    ),
    fault(
      'bn-eps-zero',
      rule,
      normMistake('running_var', (f, v, eps) => f.sub(v, eps)),
    ),
    fault(
      'bn-eps-outside',
      rule,
      normMistake('running_var', (f, v, eps) => {
        const sigma = f.add(f.sqrt(v), eps);
        return f.sub(f.mul(sigma, sigma), eps);
      }),
    ),
    fault(
      'bn-no-sqrt',
      rule,
      normMistake('running_var', (f, v, eps) => {
        const variance = f.add(v, eps);
        return f.sub(f.mul(variance, variance), eps);
      }),
    ),
    fault(
      'bn-mean-dropped',
      rule,
      normMistake('running_mean', (f) => f.of(0)),
    ),
    fault(
      'bn-mean-sign',
      rule,
      normMistake('running_mean', (f, mean) => f.sub(f.of(0), mean)),
    ),
    fault('bn-beta-dropped', rule, zero),
    fault(
      'bn-affine-false',
      rule,
      normMistake('bias', (f) => f.of(1)),
    ),
    fault(
      'bn-var-swapped',
      rule,
      normMistake('running_var', (_f, _v, _eps, values, i) => values[values.length - 1 - i]!),
    ),
  ];
}

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

const square = ({ op }: Match): boolean => op.kind === 'conv2d' && op.kernel[0] === op.kernel[1];

/** Mistakes in the geometry of any fused convolution. */
function kernelFaults(rule: Rule): readonly Fault[] {
  return [
    fault(
      'geo-flip',
      rule,
      moved((row, column, [height, width]) => [height - 1 - row, width - 1 - column]),
    ),
    fault('geo-transpose', rule, { ...moved((row, column) => [column, row]), where: square }),
    fault(
      'geo-shifted',
      rule,
      moved((row, column, [, width]) => (column + 1 < width ? [row, column + 1] : undefined)),
    ),
    fault('geo-last-tap', rule, {
      fused: (field, _match, right) => {
        const last = right.weight!.length - 1;
        return { ...right, weight: mapped(field, right.weight!, (w, i) => (i === last ? field.of(0) : w)) };
      },
    }),
    fault('num-one-weight', rule, {
      fused: (field, _match, right) => ({
        ...right,
        weight: mapped(field, right.weight!, (w, i) => (i === 0 ? field.mul(w, field.of(1 + 2 ** -16)) : w)),
      }),
    }),
    fault('num-channel-swap', rule, {
      fused: (field, _match, right) => {
        const { bias } = right;
        if (bias === undefined) return right;
        return { ...right, bias: mapped(field, bias, (_, c) => bias[bias.length - 1 - c]!) };
      },
    }),
  ];
}

/** The convolution that the batch norm follows has a bias of its own. */
const biased = (match: Match): boolean => replaced(match, 'conv2d').op.bias;

/** The convolution's own bias, not scaled by gamma / sigma. */
const biasUnscaled: Mistake = {
  where: biased,
  fused: (field, match, right, read) => {
    const { shift } = batchNormAffine(field, replaced(match, 'batchNorm'), read);
    const bias = read(keyOf(replaced(match, 'conv2d'), 'bias'));
    return { ...right, bias: mapped(field, shift, (value, c) => field.add(value, bias[c]!)) };
  },
};

export const convBatchNormFaults: readonly Fault[] = [
  ...normFaults(convBatchNorm),
  ...kernelFaults(convBatchNorm),
  fault('bn-conv-bias-unscaled', convBatchNorm, biasUnscaled),
  // The factor of the input channel, counted in its group.
  fault('bn-axis', convBatchNorm, {
    fused: (field, match, right, read) => {
      const { factor } = batchNormAffine(field, replaced(match, 'batchNorm'), read);
      const conv = replaced(match, 'conv2d');
      const kernel = read(keyOf(conv, 'weight'));
      const area = conv.op.kernel[0] * conv.op.kernel[1];
      const inGroup = kernel.length / (area * factor.length);
      const weight = mapped(field, kernel, (tap, i) => {
        const input = Math.floor(i / area) % inGroup;
        return field.mul(tap, factor[input % factor.length]!);
      });
      return { ...right, weight };
    },
  }),
  fault('geo-padding-zero', convBatchNorm, {
    op: (op) => (op.kind === 'conv2d' ? { ...op, padding: [0, 0] } : op),
    where: ({ op }) => op.kind === 'conv2d' && (op.padding[0] > 0 || op.padding[1] > 0),
  }),
  fault('geo-dilation', convBatchNorm, {
    op: (op) => (op.kind === 'conv2d' ? { ...op, dilation: [1, 1] } : op),
    where: ({ op }) =>
      op.kind === 'conv2d' && [0, 1].some((axis) => at(op.kernel, axis) > 1 && at(op.dilation, axis) > 1),
  }),
];

/** Faults of folding RepVGGDW's outer batch norm: the merged convolution has a bias, its branches' have none. */
export const outerNormFaults: readonly Fault[] = [
  fault('bn-outer-skipped', convBatchNorm, {
    where: biased,
    fused: (_field, match, _right, read) => {
      const conv = replaced(match, 'conv2d');
      return { weight: read(keyOf(conv, 'weight')), bias: read(keyOf(conv, 'bias')) };
    },
  }),
  fault('bn-outer-bias-unscaled', convBatchNorm, biasUnscaled),
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
function smallBranch(match: Match): Extract<Node, { readonly op: { readonly kind: 'conv2d' } }> {
  const node = match.replaced.filter((candidate) => isKind(candidate, 'conv2d')).at(-1);
  if (!isKind(node, 'conv2d')) throw new Error('no branch is replaced');
  return node;
}

/** The smaller kernel laid on the larger one with its top left corner at `corner`, not on the centre. */
function placed(corner: (large: Pair, small: Pair) => Pair): Mistake {
  return {
    fused: (field, match, right, read) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const [height, width] = match.op.kernel;
      const branch = smallBranch(match);
      const [h, w] = branch.op.kernel;
      const taps = read(keyOf(branch, 'weight'));
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

export const repVggDwFaults: readonly Fault[] = [
  ...kernelFaults(repVggDw),
  fault('geo-branch-omitted', repVggDw, {
    read: (field, match, key, read) => {
      const own = Object.values(smallBranch(match).weights).includes(key);
      return own ? mapped(field, read(key), () => field.of(0)) : read(key);
    },
  }),
  fault('geo-branch-bias-lost', repVggDw, {
    read: (field, match, key, read) =>
      key === smallBranch(match).weights.bias ? mapped(field, read(key), () => field.of(0)) : read(key),
  }),
  fault('geo-identity-missing', repVggDw, identities(-1)),
  fault('geo-identity-double', repVggDw, identities(1)),
  // A 1 at every tap, not at the centre alone.
  fault('geo-identity-ones', repVggDw, {
    fused: (field, match, right) => {
      if (match.op.kind !== 'conv2d') throw new Error('a convolution is made');
      const area = match.op.kernel[0] * match.op.kernel[1];
      const centre = (area - 1) / 2;
      const weight = mapped(field, right.weight!, (w, i) => (i % area === centre ? w : field.add(w, field.of(1))));
      return { ...right, weight };
    },
  }),
  // Padded by 1 on each side whatever the sizes: right where the larger kernel is larger by just 2.
  fault('geo-pad-fixed', repVggDw, {
    ...placed(() => [1, 1]),
    where: (match) => {
      if (match.op.kind !== 'conv2d') return false;
      const [height, width] = match.op.kernel;
      const [h, w] = smallBranch(match).op.kernel;
      return height >= h + 2 && width >= w + 2 && height - h + width - w > 4;
    },
  }),
  fault('geo-offset', repVggDw, {
    ...placed(([height, width], [h, w]) => [(height - h) / 2, (width - w) / 2 + 1]),
    where: (match) => match.op.kind === 'conv2d' && match.op.kernel[1] > smallBranch(match).op.kernel[1],
  }),
  ...outerNormFaults,
];

export const batchNormLinearFaults: readonly Fault[] = [
  ...normFaults(batchNormLinear),
  // The linear's own bias alone: weight times the batch norm's shift is lost.
  fault('bn-linear-bias-lost', batchNormLinear, {
    fused: (field, match, right, read) => {
      const { weights, op } = replaced(match, 'linear');
      const none = field.array(op.outFeatures);
      for (let o = 0; o < none.length; o++) none[o] = field.of(0);
      return { ...right, bias: weights.bias === undefined ? none : read(weights.bias) };
    },
  }),
  // The factor of the output feature, not of the input feature.
  fault('bn-axis', batchNormLinear, {
    fused: (field, match, right, read) => {
      const { factor } = batchNormAffine(field, replaced(match, 'batchNorm'), read);
      const matrix = read(keyOf(replaced(match, 'linear'), 'weight'));
      const weight = mapped(field, matrix, (w, i) =>
        field.mul(w, factor[Math.floor(i / factor.length) % factor.length]!),
      );
      return { ...right, weight };
    },
  }),
];

function headKeys(match: Match): readonly string[] {
  return match.replaced.filter(({ op }) => op.kind === 'linear').flatMap(({ weights }) => Object.values(weights));
}

export const averageHeadsFaults: readonly Fault[] = [
  // The sum, not the mean.
  fault('head-sum', averageHeads, {
    fused: (field, match, right) => {
      const factor = field.of(replaced(match, 'scale').op.factor);
      const unscaled = (values: Values<ReturnType<typeof field.of>>) =>
        mapped(field, values, (value) => field.div(value, factor));
      return {
        weight: unscaled(right.weight!),
        ...(right.bias === undefined ? {} : { bias: unscaled(right.bias) }),
      };
    },
  }),
  fault('head-one', averageHeads, {
    read: (field, match, key, read) => {
      const first = match.replaced.find(({ op }) => op.kind === 'linear')!;
      const other = headKeys(match).includes(key) && !Object.values(first.weights).includes(key);
      return other ? mapped(field, read(key), () => field.of(0)) : read(key);
    },
  }),
  fault('head-bias-not-averaged', averageHeads, {
    fused: (field, match, right) => {
      if (right.bias === undefined) return right;
      const factor = field.of(replaced(match, 'scale').op.factor);
      return { ...right, bias: mapped(field, right.bias, (value) => field.div(value, factor)) };
    },
  }),
  fault('head-transposed', averageHeads, {
    fused: (field, match, right) => {
      const { outFeatures } = replaced(match, 'linear').op;
      const { weight } = right;
      const features = weight!.length / outFeatures;
      return {
        ...right,
        weight: mapped(field, weight!, (_, i) => weight![(i % features) * outFeatures + Math.floor(i / features)]!),
      };
    },
  }),
];
