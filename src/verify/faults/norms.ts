/** Mistakes in folding batch norms. */
import type { Field } from '../../fused/field.ts';
import { keyOf, type Match, type OwnValues, type Rule, type Values } from '../../fused/rule.ts';
import { batchNormAffine } from '../../fused/rules/batch-norm.ts';
import { batchNormConv } from '../../fused/rules/batch-norm-conv.ts';
import { batchNormLinear } from '../../fused/rules/batch-norm-linear.ts';
import { batchNormPool } from '../../fused/rules/batch-norm-pool.ts';
import { batchNormWindowLinear } from '../../fused/rules/batch-norm-window-linear.ts';
import { setLinearBatchNorm } from '../../fused/rules/set-linear-batch-norm.ts';
import type { Role } from '../../network/ops.ts';
import {
  allMatched,
  type FaultyRule,
  faulty,
  layerOf,
  lenient,
  type Mistake,
  mapped,
  matched,
  onCopies,
} from './mistake.ts';

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
export function normFaults(rule: Rule): readonly FaultyRule[] {
  const zero = normMistake('bias', (field) => field.of(0));
  return [
    // eps of TensorFlow's default
    faulty(
      'bn-eps-tf',
      rule,
      normMistake('running_var', (f, v, eps) => f.add(v, f.sub(f.of(1e-3), eps))),
    ),
    {
      ...faulty(
        'bn-eps-zero',
        rule,
        normMistake('running_var', (f, v, eps) => f.sub(v, eps)),
      ),
      smallVariances: true,
    },
    faulty(
      'bn-eps-outside',
      rule,
      normMistake('running_var', (f, v, eps) => {
        const sigma = f.add(f.sqrt(v), eps);
        return f.sub(f.mul(sigma, sigma), eps);
      }),
    ),
    faulty(
      'bn-no-sqrt',
      rule,
      normMistake('running_var', (f, v, eps) => {
        const variance = f.add(v, eps);
        return f.sub(f.mul(variance, variance), eps);
      }),
    ),
    faulty(
      'bn-mean-dropped',
      rule,
      normMistake('running_mean', (f) => f.of(0)),
    ),
    faulty(
      'bn-mean-sign',
      rule,
      normMistake('running_mean', (f, mean) => f.sub(f.of(0), mean)),
    ),
    faulty('bn-beta-dropped', rule, zero),
    faulty(
      'bn-affine-false',
      rule,
      normMistake('bias', (f) => f.of(1)),
    ),
    faulty(
      'bn-var-reversed',
      rule,
      normMistake('running_var', (_f, _v, _eps, values, i) => values[values.length - 1 - i]!),
    ),
  ];
}

/** The convolution that the batch norm follows has a bias of its own. */
export const biased = (match: Match): boolean => matched(match, 'conv2d').op.bias;

/** The convolution's own bias, not scaled by gamma / sigma. */
export const biasUnscaled: Mistake = {
  where: biased,
  fused: (field, match, right, source) => {
    const { shift } = batchNormAffine(field, matched(match, 'batchNorm'), source);
    const bias = source.read(keyOf(matched(match, 'conv2d'), 'bias'));
    return { ...right, bias: mapped(field, shift, (value, c) => field.add(value, bias[c]!)) };
  },
};

/** Folded into weights that it has been folded into before. */
export const fusedTwice: Mistake = {
  fused: (field, match, right, { read }) => {
    const { weight, bias } = match.carrier.weights;
    const again = (key: string) => (key === weight ? right.weight! : key === bias ? right.bias! : read(key));
    return match.weights(field, onCopies(field, again));
  },
};

/** Mistakes in folding a batch norm into the layer behind it. */
function inputNormFaults(rule: Rule): readonly FaultyRule[] {
  return [
    ...normFaults(rule),
    faulty('life-fused-twice', rule, fusedTwice),
    // The layer as it is.
    faulty('bn-orphan-deleted', rule, {
      fused: (field, match, right, { read, take }) => {
        const { weight, bias } = layerOf(match).weights;
        return {
          weight: take(weight!),
          bias: mapped(field, right.bias!, (_, o) => (bias === undefined ? field.of(0) : read(bias)[o]!)),
        };
      },
    }),
    // The layer's own bias alone: weight times the batch norm's shift is lost.
    faulty('bn-linear-bias-lost', rule, {
      fused: (field, match, right, { read }) => {
        const own = layerOf(match).weights.bias;
        return {
          ...right,
          bias: mapped(field, right.bias!, (_, o) => (own === undefined ? field.of(0) : read(own)[o]!)),
        };
      },
    }),
    faulty('bn-layer-bias-lost', rule, {
      read: (field, match, key, { read }) =>
        key === layerOf(match).weights.bias ? mapped(field, read(key), () => field.of(0)) : read(key),
    }),
    // The factor of the output channel, not of the input channel.
    faulty('bn-axis', rule, {
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

export const batchNormLinearFaults: readonly FaultyRule[] = inputNormFaults(batchNormLinear);

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

export const batchNormConvFaults: readonly FaultyRule[] = [
  ...inputNormFaults(batchNormConv),
  faulty('bn-first-group', batchNormConv, firstGroupEverywhere),
];

/** Folds into padded convolutions, too: beta leaks at the border. */
export const batchNormBeforePadding: FaultyRule = {
  name: 'geo-bn-before-padding',
  rule: lenient(
    batchNormConv,
    (op) => ({ ...op, padding: [0, 0] }),
    (op, { padding }) => ({ ...op, padding }),
  ),
};

export const batchNormPoolFaults: readonly FaultyRule[] = [
  ...inputNormFaults(batchNormPool),
  faulty('bn-first-group', batchNormPool, firstGroupEverywhere),
  // As if the pool were a sum: weight times the shift once for every position.
  faulty('bn-pool-sum', batchNormPool, {
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

export const setLinearBatchNormFaults: readonly FaultyRule[] = [
  ...normFaults(setLinearBatchNorm),
  faulty('life-fused-twice', setLinearBatchNorm, fusedTwice),
  // `repeat` for `repeat_interleave`: row i of fc3 gets the factor and the shift of share-set i modulo S.
  faulty('bn-repeat', setLinearBatchNorm, {
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
  faulty('bn-conv-bias-unscaled', setLinearBatchNorm, {
    where: (match) => matched(match, 'setLinear').op.bias,
    fused: (field, match, right, source) => {
      const { shift } = batchNormAffine(field, matched(match, 'batchNorm'), source);
      const own = source.read(keyOf(matched(match, 'setLinear'), 'bias'));
      const pixels = own.length / shift.length;
      return { ...right, bias: mapped(field, own, (b, row) => field.add(b, shift[Math.floor(row / pixels)]!)) };
    },
  }),
];

/** The constants of channel r * S + s taken from channel s * C/S + r, the share-set being the slow axis there. */
function slowAxis<T>(field: Field<T>, match: Match, values: OwnValues<T>): OwnValues<T> {
  const { sets } = matched(match, 'windowLinear').op;
  const perSet = values.length / sets;
  return mapped(field, values, (_, channel) => values[(channel % sets) * perSet + Math.floor(channel / sets)]!);
}

export const batchNormWindowLinearFaults: readonly FaultyRule[] = [
  ...normFaults(batchNormWindowLinear),
  faulty('bn-orphan-deleted', batchNormWindowLinear, {
    fused: (field, _match, right) => ({
      ...right,
      scale: mapped(field, right.scale!, () => field.of(1)),
      shift: mapped(field, right.shift!, () => field.of(0)),
    }),
  }),
  faulty('bn-shift-lost', batchNormWindowLinear, {
    fused: (field, _match, right) => ({ ...right, shift: mapped(field, right.shift!, () => field.of(0)) }),
  }),
  faulty('bn-row-sum-columns', batchNormWindowLinear, {
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
  faulty('bn-row-sum-one', batchNormWindowLinear, {
    fused: (field, _match, right) => ({ ...right, row_sum: mapped(field, right.row_sum!, () => field.of(1)) }),
  }),
  faulty('bn-scale-slow-axis', batchNormWindowLinear, {
    fused: (field, match, right) => ({ ...right, scale: slowAxis(field, match, right.scale!) }),
  }),
  faulty('bn-shift-slow-axis', batchNormWindowLinear, {
    fused: (field, match, right) => ({ ...right, shift: slowAxis(field, match, right.shift!) }),
  }),
  // The factor of a share-set's first channel folded into its weights, for all of them.
  faulty('bn-into-shared-weights', batchNormWindowLinear, {
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
