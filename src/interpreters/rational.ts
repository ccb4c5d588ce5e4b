import type { Fraction } from 'mathjs';
import { weightShapesByKey } from '../network/graph.ts';
import { applyRule, type Network, type OpRules, type Pair, type Role } from '../network/ops.ts';
import { at, windowsOf } from '../network/shapes.ts';
import { elements, formatShape, type Shape, sameShape } from '../network/tensor.ts';
import { gelu } from './kernels/gelu.ts';

/** A dense, row-major tensor of exact fractions. */
export interface RationalTensor {
  readonly shape: Shape;
  readonly data: ArrayLike<Fraction>;
}

/** By state_dict key, or by node name. */
export type RationalTensors = ReadonlyMap<string, RationalTensor>;

/** What the fractions' own methods leave out. */
export interface Arithmetic {
  /** A constant, as the decimal that it is written as. */
  of(value: number): Fraction;
  /** @throws Error where the root is not rational */
  sqrt(value: Fraction): Fraction;
}

interface Operands {
  readonly arithmetic: Arithmetic;
  readonly inputs: readonly RationalTensor[];
  weight(role: Role): ArrayLike<Fraction>;
  /** The bias, where the op has one. */
  readonly bias: ArrayLike<Fraction> | undefined;
}

type Shape4 = readonly [number, number, number, number];

/** Activations are rounded to a multiple of its reciprocal. */
const ACTIVATION_STEPS = 64;

/** A number near the fraction, however long its numerator and denominator are. */
export function toNumber({ s, n, d }: Fraction): number {
  return Number(s * ((n << 64n) / d)) / 2 ** 64;
}

/** f of every element, in float64 and rounded to a short fraction: see {@link evaluateRational}. */
function activation({ inputs: [x], arithmetic }: Operands, f: (value: number) => number): Fraction[] {
  return Array.from(x!.data, (value) =>
    arithmetic.of(Math.round(f(toNumber(value)) * ACTIVATION_STEPS) / ACTIVATION_STEPS),
  );
}

/** The sum of a list of products, from `first` on. */
function sumOfProducts(first: Fraction, products: Iterable<readonly [Fraction, Fraction]>): Fraction {
  let total = first;
  for (const [a, b] of products) if (a.n !== 0n && b.n !== 0n) total = total.add(a.mul(b));
  return total;
}

/** x[n, c, ...] over axis 1: the channel of each element. */
function channelOf(shape: Shape, index: number): number {
  return Math.floor(index / elements(shape.slice(2))) % shape[1]!;
}

const rules: OpRules<[operands: Operands], ArrayLike<Fraction>> = {
  input: () => {
    throw new Error('an input has a value, not a rule');
  },
  conv2d: ({ op, shape }, { inputs: [x], weight, bias, arithmetic }) => {
    const [, channels, height, width] = x!.shape as Shape4;
    const kernel = weight('weight'); // [O, C/groups, kh, kw]
    const inGroup = channels / op.groups;
    const [kh, kw] = op.kernel;
    return generate(shape as Shape4, ([image, filter, row, column]) => {
      const group = Math.floor(filter / (op.outChannels / op.groups));
      const products = function* () {
        for (let i = 0; i < inGroup; i++) {
          for (let tap = 0; tap < kh * kw; tap++) {
            const y = row * op.stride[0] - op.padding[0] + Math.floor(tap / kw) * op.dilation[0];
            const z = column * op.stride[1] - op.padding[1] + (tap % kw) * op.dilation[1];
            if (y < 0 || y >= height || z < 0 || z >= width) continue;
            const from = ((image * channels + group * inGroup + i) * height + y) * width + z;
            yield [kernel[(filter * inGroup + i) * kh * kw + tap]!, x!.data[from]!] as const;
          }
        }
      };
      return sumOfProducts(bias?.[filter] ?? arithmetic.of(0), products());
    });
  },
  batchNorm: ({ op, shape }, { inputs: [x], weight, bias, arithmetic }) => {
    const [gamma, mean, variance] = [weight('weight'), weight('running_mean'), weight('running_var')];
    const eps = arithmetic.of(op.eps);
    const roots = Array.from(variance, (value) => arithmetic.sqrt(value.add(eps)));
    return Array.from(x!.data, (value, index) => {
      const c = channelOf(shape, index);
      return value.sub(mean[c]!).div(roots[c]!).mul(gamma[c]!).add(bias![c]!);
    });
  },
  linear: ({ shape }, { inputs: [x], weight, bias, arithmetic }) => {
    const matrix = weight('weight'); // [O, I]
    const features = x!.shape[1]!;
    return Array.from({ length: elements(shape) }, (_, index) => {
      const [image, out] = [Math.floor(index / shape[1]!), index % shape[1]!];
      const products = function* () {
        for (let i = 0; i < features; i++) {
          yield [matrix[out * features + i]!, x!.data[image * features + i]!] as const;
        }
      };
      return sumOfProducts(bias?.[out] ?? arithmetic.of(0), products());
    });
  },
  add: (_node, { inputs: [first, ...rest] }) =>
    Array.from(first!.data, (value, i) => rest.reduce((sum, { data }) => sum.add(data[i]!), value)),
  mul: ({ shape }, { inputs: [x, gate] }) => {
    const area = elements(shape.slice(2));
    return Array.from(x!.data, (value, i) => value.mul(gate!.data[Math.floor(i / area)]!));
  },
  scale: ({ op }, { inputs: [x], arithmetic }) => {
    const factor = arithmetic.of(op.factor);
    return Array.from(x!.data, (value) => value.mul(factor));
  },
  relu: (_node, { inputs: [x], arithmetic }) => {
    const zero = arithmetic.of(0);
    return Array.from(x!.data, (value) => (value.s < 0n ? zero : value));
  },
  gelu: (_node, operands) => activation(operands, gelu),
  // Never 0: a gate that is shut hides what it gates.
  sigmoid: (_node, operands) =>
    activation(operands, (value) => Math.max(1 / ACTIVATION_STEPS, 1 / (1 + Math.exp(-value)))),
  globalAvgPool: ({ shape }, { inputs: [x], arithmetic }) => {
    const area = x!.data.length / elements(shape);
    const count = arithmetic.of(area);
    return Array.from({ length: elements(shape) }, (_, map) => {
      let total = arithmetic.of(0);
      for (let i = map * area; i < (map + 1) * area; i++) total = total.add(x!.data[i]!);
      return total.div(count);
    });
  },
  partition: (node, { inputs: [x] }) => {
    const [, channels = 0] = x!.shape;
    const { shape, parts } = windowsOf(node, x!.shape);
    return partitioned({ channels, parts, sets: node.op.sets, window: node.op.window }, shape, x!.data);
  },
  departition: ({ op, shape }, { inputs: [x] }) => {
    const [, sets, h, w] = x!.shape as Shape4;
    return departitioned({ channels: op.channels, parts: op.parts, sets, window: [h, w] }, shape, x!.data);
  },
  setLinear: ({ shape }, { inputs: [x], weight, bias, arithmetic }) =>
    Array.from(setProducts(shape, x!.data, weight('weight'), arithmetic), (value, index) =>
      bias === undefined ? value : value.add(bias[index % bias.length]!),
    ),
  windowLinear: (node, { inputs: [x], weight, bias, arithmetic }) => {
    const { op, shape } = node;
    const channels = shape[1]!;
    const { shape: cut, parts } = windowsOf(node, shape);
    const windows = { channels, parts, sets: op.sets, window: op.window };
    const area = op.window[0] * op.window[1];
    const products = setProducts(cut, partitioned(windows, cut, x!.data), weight('weight'), arithmetic);
    const affine = op.affine ? ([weight('scale'), weight('shift'), weight('row_sum')] as const) : undefined;
    const values = products.map((value, index) => {
      const row = index % (op.sets * area);
      // Rows of the partition lie in the order (image, window, channel).
      const c = Math.floor(index / area) % channels;
      const scaled = affine === undefined ? value : value.mul(affine[0][c]!).add(affine[1][c]!.mul(affine[2][row]!));
      return bias === undefined ? scaled : scaled.add(bias[row]!);
    });
    return departitioned(windows, shape, values);
  },
};

/** The value of every element of [A, B, C, D], by its four indices. */
function generate(shape: Shape4, value: (position: Shape4) => Fraction): Fraction[] {
  return Array.from({ length: elements(shape) }, (_, index) => value(positionOf(shape, index)));
}

function positionOf([, b, c, d]: Shape4, index: number): Shape4 {
  return [Math.floor(index / (b * c * d)), Math.floor(index / (c * d)) % b, Math.floor(index / d) % c, index % d];
}

/** How maps [N, C, H, W] lie in windows. */
interface Windows {
  readonly channels: number;
  readonly sets: number;
  readonly window: Pair;
  /** Windows along each axis. */
  readonly parts: Pair;
}

/** Index in [N, C, H, W] of a pixel of a window. */
function pixelIndex(
  { channels, window, parts }: Windows,
  [image, channel]: readonly [number, number],
  part: Pair,
  pixel: Pair,
): number {
  const [y, x] = ([0, 1] as const).map((axis) => at(part, axis) * at(window, axis) + at(pixel, axis)) as [
    number,
    number,
  ];
  return ((image * channels + channel) * parts[0] * window[0] + y) * parts[1] * window[1] + x;
}

/** [N, C, H, W] -> [R, S, h, w] of `shape`; R runs over (image, window row, window column, channel / S). */
function partitioned(windows: Windows, shape: Shape, maps: ArrayLike<Fraction>): Fraction[] {
  const { channels, sets, parts } = windows;
  return generate(shape as Shape4, ([r, set, y, x]) => {
    const part = Math.floor(r / (channels / sets));
    const channel = (r % (channels / sets)) * sets + set;
    const place: Pair = [Math.floor(part / parts[1]) % parts[0], part % parts[1]];
    return maps[pixelIndex(windows, [Math.floor(part / (parts[0] * parts[1])), channel], place, [y, x])]!;
  });
}

/** [R, S, h, w] -> [N, C, H, W] of `shape`; R runs over (image, channel / S, window row, window column). */
function departitioned(windows: Windows, shape: Shape, rows: ArrayLike<Fraction>): Fraction[] {
  const { channels, sets, window, parts } = windows;
  const [h, w] = window;
  return generate(shape as Shape4, ([image, channel, y, x]) => {
    const each = Math.floor(channel / sets);
    const part = Math.floor(y / h) * parts[1] + Math.floor(x / w);
    const r = (image * (channels / sets) + each) * parts[0] * parts[1] + part;
    return rows[((r * sets + (channel % sets)) * h + (y % h)) * w + (x % w)]!;
  });
}

/** A matrix for each share-set, [S, h*w, h*w], times its pixels in [R, S, h, w]. */
function setProducts(
  shape: Shape,
  x: ArrayLike<Fraction>,
  matrix: ArrayLike<Fraction>,
  { of }: Arithmetic,
): Fraction[] {
  const [, sets, h, w] = shape as Shape4;
  const area = h * w;
  return Array.from({ length: elements(shape) }, (_, index) => {
    const row = index % (sets * area);
    const from = index - (index % area);
    const products = function* () {
      for (let i = 0; i < area; i++) yield [matrix[row * area + i]!, x[from + i]!] as const;
    };
    return sumOfProducts(of(0), products());
  });
}

/**
 * Evaluates a network in exact fractions, every op by its definition. GELU and sigmoid have no rational values: they are
 * computed in float64 and rounded to a multiple of 1/64. So equality of two forms is proved up to each activation, and
 * beyond it because both put in the same fraction there, so that any one function gives the same.
 * @param weights of every key of the network
 * @param inputs one tensor per `input` node, in its shape
 * @returns the value of the network's output
 * @throws Error where a weight or an input is missing or of another shape, or the root of a variance is not rational
 */
export function evaluateRational(
  network: Network,
  weights: RationalTensors,
  inputs: RationalTensors,
  arithmetic: Arithmetic,
): RationalTensor {
  const shapes = weightShapesByKey(network);
  const values = new Map<string, RationalTensor>();
  const computed = (name: string) => checked(name, values.get(name), values.get(name)?.shape ?? []);
  for (const node of network.nodes) {
    const { name, shape } = node;
    if (node.op.kind === 'input') {
      values.set(name, checked(name, inputs.get(name), shape));
      continue;
    }
    const weight = (role: Role) => {
      const key = node.weights[role] ?? `${name}.${role}`;
      return checked(key, weights.get(key), shapes.get(key) ?? []).data;
    };
    const bias = node.weights.bias === undefined ? undefined : weight('bias');
    const data = applyRule(rules, node, { arithmetic, inputs: node.inputs.map(computed), weight, bias });
    values.set(name, { shape, data });
  }
  return computed(network.output);
}

/** @throws Error where the tensor is missing, of another shape, or does not fill its shape */
function checked(name: string, tensor: RationalTensor | undefined, shape: Shape): RationalTensor {
  if (tensor === undefined) throw new Error(`${name} has no value`);
  if (!sameShape(tensor.shape, shape) || tensor.data.length !== elements(shape)) {
    throw new Error(
      `${name} has ${tensor.data.length} values of shape ${formatShape(tensor.shape)}; ${formatShape(shape)} is needed`,
    );
  }
  return tensor;
}
