/** Mistakes in layers over windows: locality injection, and the order of channels and windows. */
import { keyOf, type Match, type OwnValues } from '../../fused/rule.ts';
import { batchNormAffine } from '../../fused/rules/batch-norm.ts';
import { localityInjection } from '../../fused/rules/locality-injection.ts';
import { windowLinear } from '../../fused/rules/window-linear.ts';
import type { Pair } from '../../network/ops.ts';
import { allMatched, type FaultyRule, faulty, type Mistake, mapped, matched, type NodeOf } from './mistake.ts';
import { normFaults } from './norms.ts';

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
export const localityInjectionAgain: FaultyRule = faulty('nothing', localityInjection, misplaced({}));

export const localityInjectionFaults: readonly FaultyRule[] = [
  ...normFaults(localityInjection),
  // Each branch folded with the variances of the next one.
  faulty('bn-var-of-other-branch', localityInjection, {
    read: (_field, match, key, { read }) => {
      const variances = allMatched(match, 'batchNorm').map(({ weights }) => weights.running_var!);
      const branch = variances.indexOf(key);
      return read(branch < 0 ? key : variances[(branch + 1) % variances.length]!);
    },
  }),
  faulty(
    'geo-fc-transpose',
    localityInjection,
    misplaced({ place: (set, to, from, window) => placedRight(set, from, to, window) }),
  ),
  // w*w for h*w rows of a share-set; what falls off the end is lost.
  faulty(
    'geo-nonsquare-reshape',
    localityInjection,
    misplaced({
      place: (set, to, from, [h, w]) => (set * w * w + to[0] * w + to[1]) * h * w + from[0] * w + from[1],
    }),
  ),
  // Pixels counted column by column.
  faulty(
    'geo-pixel-order',
    localityInjection,
    misplaced({
      place: (set, to, from, [h, w]) => (set * h * w + to[1] * h + to[0]) * h * w + from[1] * h + from[0],
    }),
  ),
  faulty(
    'geo-flip',
    localityInjection,
    misplaced({ offset: ([row, column], kernel) => fromCentre([kernel[0] - 1 - row, kernel[1] - 1 - column], kernel) }),
  ),
  faulty(
    'geo-offset',
    localityInjection,
    misplaced({ offset: ([row, column], kernel) => fromCentre([row, column + 1], kernel) }),
  ),
  faulty('geo-branch-omitted', localityInjection, misplaced({ branches: (all) => all.slice(0, -1) })),
  faulty('geo-branch-double', localityInjection, misplaced({ branches: (all) => [...all, ...all.slice(-1)] })),
  // `repeat` for `repeat_interleave`.
  faulty('geo-bias-repeat', localityInjection, misplaced({ biasOf: (row, _pixels, sets) => row % sets })),
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
export const perChannelWindow: FaultyRule = faulty('nothing', windowLinear, {
  ...fastAxis,
  where: (match) => cutOf(match).windows === 1,
});

export const windowLinearFaults: readonly FaultyRule[] = [
  // The share-set taken as the slow axis of the channels.
  faulty('geo-set-order', windowLinear, {
    ...perChannel((channel, perSet) => Math.floor(channel / perSet)),
    where: (match) => {
      const { perSet, sets, windows } = cutOf(match);
      return windows === 1 && perSet > 1 && sets > 1;
    },
  }),
  // Every window put back where it was cut: in the original they change places.
  faulty('geo-partition-order', windowLinear, {
    ...fastAxis,
    where: (match) => {
      const { perSet, windows } = cutOf(match);
      return windows > 1 && perSet > 1;
    },
  }),
  faulty('geo-window-transpose', windowLinear, {
    op: (op) => (op.kind === 'windowLinear' ? { ...op, window: [op.window[1], op.window[0]] } : op),
    where: (match) => {
      const [h, w] = matched(match, 'partition').op.window;
      return h !== w;
    },
  }),
  faulty('geo-fc-transpose', windowLinear, {
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
  faulty('geo-bias-lost', windowLinear, {
    fused: (field, _match, right) =>
      right.bias === undefined ? right : { ...right, bias: mapped(field, right.bias, () => field.of(0)) },
  }),
];
