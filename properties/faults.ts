/** Planted faults: known mistakes in fusing, each as a faulty copy of the rule that it would be made in. */
import type { Field } from '../src/fused/field.ts';
import { keyOf, type Match, type OwnValues, type Rule, type Source, type Values } from '../src/fused/rule.ts';
import { averageHeads } from '../src/fused/rules/average-heads.ts';
import { batchNormAffine } from '../src/fused/rules/batch-norm.ts';
import { batchNormConv } from '../src/fused/rules/batch-norm-conv.ts';
import { batchNormLinear } from '../src/fused/rules/batch-norm-linear.ts';
import { batchNormPool } from '../src/fused/rules/batch-norm-pool.ts';
import { batchNormWindowLinear } from '../src/fused/rules/batch-norm-window-linear.ts';
import { convBatchNorm } from '../src/fused/rules/conv-batch-norm.ts';
import { localityInjection } from '../src/fused/rules/locality-injection.ts';
import { repVggDw } from '../src/fused/rules/repvggdw.ts';
import { setLinearBatchNorm } from '../src/fused/rules/set-linear-batch-norm.ts';
import { windowLinear } from '../src/fused/rules/window-linear.ts';
import { isKind, type Node, type Op, type OpKind, type Pair, type Role } from '../src/network/ops.ts';
import { at } from '../src/network/shapes.ts';

type Fused<T> = Partial<Record<Role, OwnValues<T>>>;

/** What is done wrong; each part defaults to what is right. */
interface Mistake {
  /** In reading one of the matched nodes' tensors. */
  readonly read?: <T>(field: Field<T>, match: Match, key: string, source: Source<T>) => Values<T>;
  /** In the fused weights. */
  readonly fused?: <T>(field: Field<T>, match: Match, right: Fused<T>, source: Source<T>) => Fused<T>;
  /** In the fused node. */
  readonly op?: (op: Op, match: Match) => Op;
  /** Only where this holds of the match. */
  readonly where?: (match: Match) => boolean;
}

export interface Fault {
  readonly name: string;
  readonly rule: Rule;
  /** Only beside small variances is it more than a rounding error. */
  readonly smallVariances?: boolean;
}

function fault(name: string, rule: Rule, { read, fused, op, where = () => true }: Mistake): Fault {
  const faulty: Rule = {
    name: rule.name,
    match(last, graph) {
      const match = rule.match(last, graph);
      if (match === undefined || !where(match)) return match;
      return {
        ...match,
        op: op?.(match.op, match) ?? match.op,
        weights: (field, given) => {
          const source = onCopies(field, given.read);
          const misread = onCopies(field, (key) => read?.(field, match, key, source) ?? given.read(key));
          const result = match.weights(field, misread);
          return fused?.(field, match, result, source) ?? result;
        },
      };
    },
  };
  return { name, rule: faulty };
}

/** A source that hands nothing over: what a rule has written to can be read as it was. */
function onCopies<T>(field: Field<T>, read: (key: string) => Values<T>): Source<T> {
  return { read, take: (key) => mapped(field, read(key), (value) => value) };
}

function mapped<T>(field: Field<T>, values: Values<T>, f: (value: T, index: number) => T): OwnValues<T> {
  const result = field.array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = f(values[i]!, i);
  return result;
}

type NodeOf<K extends OpKind> = Extract<Node, { readonly op: { readonly kind: K } }>;

/** The nodes of a kind that a match takes in. */
function allMatched<K extends OpKind>({ replaced, shared = [] }: Match, kind: K): readonly NodeOf<K>[] {
  return [...replaced, ...shared].filter((node): node is NodeOf<K> => isKind(node, kind));
}

function matched<K extends OpKind>(match: Match, kind: K): NodeOf<K> {
  const [node] = allMatched(match, kind);
  if (node === undefined) throw new Error(`no ${kind} is matched`);
  return node;
}

/** The layer that a batch norm before it is folded into. */
function layerOf({ replaced }: Match): NodeOf<'conv2d'> | NodeOf<'linear'> {
  const last = replaced.at(-1);
  if (!isKind(last, 'conv2d') && !isKind(last, 'linear')) throw new Error('no layer is replaced');
  return last;
}

/** A mistake in reading one of the batch norm's vectors. */
function normMistake(
  role: Role,
  change: <T>(field: Field<T>, value: T, eps: T, values: Values<T>, index: number) => T,
): Mistake {
  return {
    read: (field, match, key, { read }) => {
      const values = read(key);
      const norm = allMatched(match, 'batchNorm').find(({ weights }) => key === weights[role]);
      if (norm === undefined) return values;
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
    {
      ...fault(
        'bn-eps-zero',
        rule,
        normMistake('running_var', (f, v, eps) => f.sub(v, eps)),
      ),
      smallVariances: true,
    },
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
const biased = (match: Match): boolean => matched(match, 'conv2d').op.bias;

/** The convolution's own bias, not scaled by gamma / sigma. */
const biasUnscaled: Mistake = {
  where: biased,
  fused: (field, match, right, source) => {
    const { shift } = batchNormAffine(field, matched(match, 'batchNorm'), source);
    const bias = source.read(keyOf(matched(match, 'conv2d'), 'bias'));
    return { ...right, bias: mapped(field, shift, (value, c) => field.add(value, bias[c]!)) };
  },
};

export const convBatchNormFaults: readonly Fault[] = [
  ...normFaults(convBatchNorm),
  ...kernelFaults(convBatchNorm),
  fault('bn-conv-bias-unscaled', convBatchNorm, biasUnscaled),
  // The factor of the input channel, counted in its group.
  fault('bn-axis', convBatchNorm, {
    fused: (field, match, right, source) => {
      const { factor } = batchNormAffine(field, matched(match, 'batchNorm'), source);
      const conv = matched(match, 'conv2d');
      const kernel = source.read(keyOf(conv, 'weight'));
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
    fused: (_field, match, _right, { take }) => {
      const conv = matched(match, 'conv2d');
      return { weight: take(keyOf(conv, 'weight')), bias: take(keyOf(conv, 'bias')) };
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

export const repVggDwFaults: readonly Fault[] = [
  ...kernelFaults(repVggDw),
  fault('geo-branch-omitted', repVggDw, {
    read: (field, match, key, { read }) => {
      const own = Object.values(smallBranch(match).weights).includes(key);
      return own ? mapped(field, read(key), () => field.of(0)) : read(key);
    },
  }),
  fault('geo-branch-bias-lost', repVggDw, {
    read: (field, match, key, { read }) =>
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

/** Mistakes in folding a batch norm into the layer behind it. */
function inputNormFaults(rule: Rule): readonly Fault[] {
  return [
    ...normFaults(rule),
    // The layer's own bias alone: weight times the batch norm's shift is lost.
    fault('bn-linear-bias-lost', rule, {
      fused: (field, match, right, { read }) => {
        const own = layerOf(match).weights.bias;
        return {
          ...right,
          bias: mapped(field, right.bias!, (_, o) => (own === undefined ? field.of(0) : read(own)[o]!)),
        };
      },
    }),
    fault('bn-layer-bias-lost', rule, {
      read: (field, match, key, { read }) =>
        key === layerOf(match).weights.bias ? mapped(field, read(key), () => field.of(0)) : read(key),
    }),
    // The factor of the output channel, not of the input channel.
    fault('bn-axis', rule, {
      fused: (field, match, right, source) => {
        const { factor } = batchNormAffine(field, matched(match, 'batchNorm'), source);
        const kernel = source.read(keyOf(layerOf(match), 'weight'));
        const inputs = kernel.length / right.bias!.length;
        const weight = mapped(field, kernel, (w, i) => field.mul(w, factor[Math.floor(i / inputs) % factor.length]!));
        return { ...right, weight };
      },
    }),
  ];
}

export const batchNormLinearFaults: readonly Fault[] = inputNormFaults(batchNormLinear);

/** The factors and shifts of the first group of input channels, in every group. */
const firstGroupEverywhere: Mistake = {
  where: (match) => layerOf(match).op.kind === 'conv2d',
  read: (field, match, key, { read }) => {
    const values = read(key);
    const layer = layerOf(match);
    if (layer.op.kind !== 'conv2d' || Object.values(layer.weights).includes(key)) return values;
    const inGroup = values.length / layer.op.groups;
    return mapped(field, values, (_, channel) => values[channel % inGroup]!);
  },
};

export const batchNormConvFaults: readonly Fault[] = [
  ...inputNormFaults(batchNormConv),
  fault('bn-first-group', batchNormConv, firstGroupEverywhere),
];

/** Folds into padded convolutions, too: beta leaks at the border. */
export const batchNormBeforePadding: Fault = {
  name: 'geo-bn-before-padding',
  rule: {
    name: batchNormConv.name,
    match(last, graph) {
      if (!isKind(last, 'conv2d')) return undefined;
      const { padding } = last.op;
      const match = batchNormConv.match({ ...last, op: { ...last.op, padding: [0, 0] } }, graph);
      if (match?.op.kind !== 'conv2d') return undefined;
      return { ...match, replaced: [last], op: { ...match.op, padding } };
    },
  },
};

export const batchNormPoolFaults: readonly Fault[] = [
  ...inputNormFaults(batchNormPool),
  fault('bn-first-group', batchNormPool, firstGroupEverywhere),
  // As if the pool were a sum: weight times the shift once for every position.
  fault('bn-pool-sum', batchNormPool, {
    fused: (field, match, right, { read }) => {
      const [, , height = 1, width = 1] = matched(match, 'batchNorm').shape;
      const own = layerOf(match).weights.bias;
      const bias = mapped(field, right.bias!, (total, o) => {
        const first = own === undefined ? field.of(0) : read(own)[o]!;
        return field.add(field.mul(field.sub(total, first), field.of(height * width)), first);
      });
      return height * width === 1 ? right : { ...right, bias };
    },
  }),
];

export const setLinearBatchNormFaults: readonly Fault[] = [
  ...normFaults(setLinearBatchNorm),
  // `repeat` for `repeat_interleave`: row i of fc3 gets the factor and the shift of share-set i modulo S.
  fault('bn-repeat', setLinearBatchNorm, {
    fused: (field, match, right, source) => {
      const { factor, shift } = batchNormAffine(field, matched(match, 'batchNorm'), source);
      const fc3 = matched(match, 'setLinear');
      const matrix = source.read(keyOf(fc3, 'weight'));
      const own = fc3.weights.bias === undefined ? undefined : source.read(fc3.weights.bias);
      const rows = right.bias!.length;
      const sets = factor.length;
      const columns = matrix.length / rows;
      return {
        weight: mapped(field, matrix, (w, i) => field.mul(w, factor[Math.floor(i / columns) % sets]!)),
        bias: mapped(field, right.bias!, (_, row) => {
          const s = shift[row % sets]!;
          return own === undefined ? s : field.add(field.mul(own[row]!, factor[row % sets]!), s);
        }),
      };
    },
  }),
  fault('bn-conv-bias-unscaled', setLinearBatchNorm, {
    where: (match) => matched(match, 'setLinear').op.bias,
    fused: (field, match, right, source) => {
      const { shift } = batchNormAffine(field, matched(match, 'batchNorm'), source);
      const own = source.read(keyOf(matched(match, 'setLinear'), 'bias'));
      const pixels = own.length / shift.length;
      return { ...right, bias: mapped(field, own, (b, row) => field.add(b, shift[Math.floor(row / pixels)]!)) };
    },
  }),
];

/** Index in [S*h*w, h*w] for the tap that leads from pixel `from` to pixel `to` of a share-set's window [h, w]. */
type Place = (set: number, to: Pair, from: Pair, window: Pair) => number;

const placedRight: Place = (set, to, from, [h, w]) => (set * h * w + to[0] * w + to[1]) * h * w + from[0] * w + from[1];

/** What is done wrong in locality injection; each part defaults to what is right. */
interface MisplacedBranches {
  /** Where a tap is laid. */
  readonly place?: Place;
  /** Rows and columns from the output to the input that a tap reads. */
  readonly offset?: (tap: Pair, kernel: Pair) => Pair;
  /** The share-set whose shift a row's bias gets. */
  readonly biasOf?: (row: number, pixels: number, sets: number) => number;
  readonly branches?: (all: readonly NodeOf<'conv2d'>[]) => readonly NodeOf<'conv2d'>[];
}

const fromCentre = ([row, column]: Pair, [kh, kw]: Pair): Pair => [row - (kh - 1) / 2, column - (kw - 1) / 2];

/** The rule once more, with something done wrong: the same sums in the same order. */
function misplaced({
  place = placedRight,
  offset = fromCentre,
  biasOf = (row, pixels) => Math.floor(row / pixels),
  branches = (all) => all,
}: MisplacedBranches): Mistake {
  return {
    fused: (field, match, _right, source) => {
      const fc3 = matched(match, 'setLinear');
      const [, sets = 1, h = 1, w = 1] = fc3.shape;
      const weight = source.take(keyOf(fc3, 'weight'));
      const noBias = mapped(field, field.array(sets * h * w), () => field.of(0));
      const bias = fc3.weights.bias === undefined ? noBias : source.take(fc3.weights.bias);
      for (const conv of branches(allMatched(match, 'conv2d'))) {
        const norm = allMatched(match, 'batchNorm').find(({ inputs }) => inputs[0] === conv.name);
        const { factor, shift } = norm === undefined ? {} : batchNormAffine(field, norm, source);
        const taps = source.read(keyOf(conv, 'weight'));
        const own = conv.weights.bias === undefined ? undefined : source.read(conv.weights.bias);
        const [kh, kw] = conv.op.kernel;
        for (let i = 0; i < taps.length * h * w; i++) {
          const [set, tap, pixel] = [
            Math.floor(i / (kh * kw * h * w)),
            Math.floor(i / (h * w)) % (kh * kw),
            i % (h * w),
          ];
          const to: Pair = [Math.floor(pixel / w), pixel % w];
          const [down, right] = offset([Math.floor(tap / kw), tap % kw], conv.op.kernel);
          const from: Pair = [to[0] + down, to[1] + right];
          if (from[0] < 0 || from[0] >= h || from[1] < 0 || from[1] >= w) continue;
          const at = place(set, to, from, [h, w]);
          if (at >= weight.length) continue;
          const value = taps[set * kh * kw + tap]!;
          weight[at] = field.add(weight[at]!, factor === undefined ? value : field.mul(value, factor[set]!));
        }
        for (let row = 0; row < bias.length; row++) {
          const set = biasOf(row, h * w, sets);
          const scaled = own && (factor === undefined ? own[set]! : field.mul(own[set]!, factor[set]!));
          const total =
            scaled === undefined ? shift?.[set] : shift === undefined ? scaled : field.add(scaled, shift[set]!);
          if (total !== undefined) bias[row] = field.add(bias[row]!, total);
        }
      }
      return { weight, bias };
    },
  };
}

/** The rule written down once more, without a mistake: makes the very weights of the right one. */
export const localityInjectionAgain: Fault = fault('nothing', localityInjection, misplaced({}));

export const localityInjectionFaults: readonly Fault[] = [
  ...normFaults(localityInjection),
  // Each branch folded with the variances of the next one.
  fault('bn-var-of-other-branch', localityInjection, {
    read: (_field, match, key, { read }) => {
      const variances = allMatched(match, 'batchNorm').map(({ weights }) => weights.running_var!);
      const branch = variances.indexOf(key);
      return read(branch < 0 ? key : variances[(branch + 1) % variances.length]!);
    },
  }),
  fault(
    'geo-fc-transpose',
    localityInjection,
    misplaced({ place: (set, to, from, window) => placedRight(set, from, to, window) }),
  ),
  // w*w for h*w rows of a share-set; what falls off the end is lost.
  fault(
    'geo-nonsquare-reshape',
    localityInjection,
    misplaced({
      place: (set, to, from, [h, w]) => (set * w * w + to[0] * w + to[1]) * h * w + from[0] * w + from[1],
    }),
  ),
  // Pixels counted column by column.
  fault(
    'geo-pixel-order',
    localityInjection,
    misplaced({
      place: (set, to, from, [h, w]) => (set * h * w + to[1] * h + to[0]) * h * w + from[1] * h + from[0],
    }),
  ),
  fault(
    'geo-flip',
    localityInjection,
    misplaced({ offset: ([row, column], kernel) => fromCentre([kernel[0] - 1 - row, kernel[1] - 1 - column], kernel) }),
  ),
  fault(
    'geo-offset',
    localityInjection,
    misplaced({ offset: ([row, column], kernel) => fromCentre([row, column + 1], kernel) }),
  ),
  fault('geo-branch-omitted', localityInjection, misplaced({ branches: (all) => all.slice(0, -1) })),
  fault('geo-branch-double', localityInjection, misplaced({ branches: (all) => [...all, ...all.slice(-1)] })),
  // `repeat` for `repeat_interleave`.
  fault('geo-bias-repeat', localityInjection, misplaced({ biasOf: (row, _pixels, sets) => row % sets })),
];

/** Channels of a share-set, share-sets, and windows of a map: of what `window-linear` replaces. */
function cutOf(match: Match): { readonly perSet: number; readonly sets: number; readonly windows: number } {
  const { sets } = matched(match, 'partition').op;
  const { channels, parts } = matched(match, 'departition').op;
  return { perSet: channels / sets, sets, windows: parts[0] * parts[1] };
}

/**
 * A share-set of its own for every channel, with the weights of the share-set that it is dealt to. Each window then stays in
 * its place.
 */
function perChannel(setOf: (channel: number, perSet: number, sets: number) => number): Mistake {
  return {
    op: (op, match) => {
      const { perSet, sets } = cutOf(match);
      return op.kind === 'windowLinear' ? { ...op, sets: perSet * sets } : op;
    },
    fused: (field, match, right) => {
      const { perSet, sets } = cutOf(match);
      const dealt = (values: OwnValues<ReturnType<typeof field.of>>) => {
        const ofSet = values.length / sets;
        return mapped(field, field.array(ofSet * perSet * sets), (_, i) => {
          const set = setOf(Math.floor(i / ofSet), perSet, sets);
          return values[set * ofSet + (i % ofSet)]!;
        });
      };
      return { weight: dealt(right.weight!), ...(right.bias === undefined ? {} : { bias: dealt(right.bias) }) };
    },
  };
}

/** The share-set is the fast axis of the channels. */
const fastAxis = perChannel((channel, _perSet, sets) => channel % sets);

/** Right where each map is one window: then no window changes its place. */
export const perChannelWindow: Fault = fault('nothing', windowLinear, {
  ...fastAxis,
  where: (match) => cutOf(match).windows === 1,
});

export const windowLinearFaults: readonly Fault[] = [
  // The share-set taken as the slow axis of the channels.
  fault('geo-set-order', windowLinear, {
    ...perChannel((channel, perSet) => Math.floor(channel / perSet)),
    where: (match) => {
      const { perSet, sets, windows } = cutOf(match);
      return windows === 1 && perSet > 1 && sets > 1;
    },
  }),
  // Every window put back where it was cut: in the original they change places.
  fault('geo-partition-order', windowLinear, {
    ...fastAxis,
    where: (match) => {
      const { perSet, windows } = cutOf(match);
      return windows > 1 && perSet > 1;
    },
  }),
  fault('geo-window-transpose', windowLinear, {
    op: (op) => (op.kind === 'windowLinear' ? { ...op, window: [op.window[1], op.window[0]] } : op),
    where: (match) => {
      const [h, w] = matched(match, 'partition').op.window;
      return h !== w;
    },
  }),
  fault('geo-fc-transpose', windowLinear, {
    fused: (field, match, right) => {
      const [h, w] = matched(match, 'partition').op.window;
      const pixels = h * w;
      const weight = right.weight!;
      const transposed = mapped(field, weight, (_, i) => {
        const [set, to, from] = [Math.floor(i / pixels ** 2), Math.floor(i / pixels) % pixels, i % pixels];
        return weight[(set * pixels + from) * pixels + to]!;
      });
      return { ...right, weight: transposed };
    },
  }),
  fault('geo-bias-lost', windowLinear, {
    fused: (field, _match, right) =>
      right.bias === undefined ? right : { ...right, bias: mapped(field, right.bias, () => field.of(0)) },
  }),
];

/** The constants of channel r * S + s taken from channel s * C/S + r, the share-set being the slow axis there. */
function slowAxis<T>(field: Field<T>, match: Match, values: OwnValues<T>): OwnValues<T> {
  const { sets } = matched(match, 'windowLinear').op;
  const perSet = values.length / sets;
  return mapped(field, values, (_, channel) => values[(channel % sets) * perSet + Math.floor(channel / sets)]!);
}

export const batchNormWindowLinearFaults: readonly Fault[] = [
  ...normFaults(batchNormWindowLinear),
  fault('bn-shift-lost', batchNormWindowLinear, {
    fused: (field, _match, right) => ({ ...right, shift: mapped(field, right.shift!, () => field.of(0)) }),
  }),
  fault('bn-row-sum-columns', batchNormWindowLinear, {
    fused: (field, match, right) => {
      const { window } = matched(match, 'windowLinear').op;
      const pixels = window[0] * window[1];
      const sums = mapped(field, right.row_sum!, (_, row) => {
        let total = field.of(0);
        for (let i = 0; i < pixels; i++) {
          const [set, column] = [Math.floor(row / pixels), row % pixels];
          total = field.add(total, right.weight![(set * pixels + i) * pixels + column]!);
        }
        return total;
      });
      return { ...right, row_sum: sums };
    },
  }),
  // The sum of the pixels, not of the weights.
  fault('bn-row-sum-one', batchNormWindowLinear, {
    fused: (field, _match, right) => ({ ...right, row_sum: mapped(field, right.row_sum!, () => field.of(1)) }),
  }),
  fault('bn-scale-slow-axis', batchNormWindowLinear, {
    fused: (field, match, right) => ({ ...right, scale: slowAxis(field, match, right.scale!) }),
  }),
  fault('bn-shift-slow-axis', batchNormWindowLinear, {
    fused: (field, match, right) => ({ ...right, shift: slowAxis(field, match, right.shift!) }),
  }),
  // The factor of a share-set's first channel folded into its weights, for all of them.
  fault('bn-into-shared-weights', batchNormWindowLinear, {
    fused: (field, match, right) => {
      const scale = right.scale!;
      const ofSet = right.weight!.length / matched(match, 'windowLinear').op.sets;
      return {
        ...right,
        weight: mapped(field, right.weight!, (w, i) => field.mul(w, scale[Math.floor(i / ofSet)]!)),
        scale: mapped(field, scale, () => field.of(1)),
      };
    },
    where: (match) => matched(match, 'batchNorm').shape[1]! > matched(match, 'windowLinear').op.sets,
  }),
];

function headKeys(match: Match): readonly string[] {
  return match.replaced.filter(({ op }) => op.kind === 'linear').flatMap(({ weights }) => Object.values(weights));
}

export const averageHeadsFaults: readonly Fault[] = [
  // The sum, not the mean.
  fault('head-sum', averageHeads, {
    fused: (field, match, right) => {
      const factor = field.of(matched(match, 'scale').op.factor);
      const unscaled = (values: Values<ReturnType<typeof field.of>>) =>
        mapped(field, values, (value) => field.div(value, factor));
      return {
        weight: unscaled(right.weight!),
        ...(right.bias === undefined ? {} : { bias: unscaled(right.bias) }),
      };
    },
  }),
  fault('head-one', averageHeads, {
    read: (field, match, key, { read }) => {
      const first = match.replaced.find(({ op }) => op.kind === 'linear')!;
      const other = headKeys(match).includes(key) && !Object.values(first.weights).includes(key);
      return other ? mapped(field, read(key), () => field.of(0)) : read(key);
    },
  }),
  fault('head-bias-not-averaged', averageHeads, {
    fused: (field, match, right) => {
      if (right.bias === undefined) return right;
      const factor = field.of(matched(match, 'scale').op.factor);
      return { ...right, bias: mapped(field, right.bias, (value) => field.div(value, factor)) };
    },
  }),
  fault('head-transposed', averageHeads, {
    fused: (field, match, right) => {
      const { outFeatures } = matched(match, 'linear').op;
      const { weight } = right;
      const features = weight!.length / outFeatures;
      return {
        ...right,
        weight: mapped(field, weight!, (_, i) => weight![(i % features) * outFeatures + Math.floor(i / features)]!),
      };
    },
  }),
];
