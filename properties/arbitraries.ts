/** What the properties draw: sizes, a regime and seeds. Values come from the seeds, so that a draw is small and shrinks fast. */
import fc from 'fast-check';
import { NetworkBuilder } from '../src/network/builder.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import { isKind, type Network, type Node, type OpKind, type OpOf, type Pair, type Role } from '../src/network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { DYADIC_EPS } from '../src/weights/dyadic.ts';
import { randomInput } from '../src/weights/random.ts';

/**
 * - default: a freshly initialised network: gamma 1, beta 0, mean 0, variance 1.
 * - balanced: gamma of both signs, variances over eleven decades, means and betas of the scale of what they stand beside.
 * - wild: the same, but means, betas and biases each of a scale of their own.
 * - dyadic: small whole numbers, powers of two, and variances whose root with eps is one: every float64 result is exact.
 */
export type Regime = 'default' | 'balanced' | 'wild' | 'dyadic';

/** Makes every value of a network's weights and input. */
export interface Values {
  readonly regime: Regime;
  readonly seed: number;
  /** Decimal exponents of the scale of weights, of inputs, and (wild only) of means, betas and biases. */
  readonly weightScale: number;
  readonly inputScale: number;
  readonly meanScale: number;
  readonly shiftScale: number;
  /** Variances of at most 1, beside which eps counts; else of up to 1e5. */
  readonly smallVariances?: boolean;
}

const decade = fc.integer({ min: -6, max: 6 });

export function values(...regimes: readonly [Regime, ...Regime[]]): fc.Arbitrary<Values> {
  return fc.record({
    regime: fc.constantFrom(...regimes),
    seed: fc.nat(2 ** 32 - 1),
    weightScale: decade,
    inputScale: decade,
    meanScale: decade,
    shiftScale: decade,
  });
}

/** PyTorch's. */
const DEFAULT_EPS = 1e-5;

/** In the dyadic regime variances are 4^k - eps, which float32 holds. */
export function epsOf({ regime }: Values): number {
  return regime === 'dyadic' ? DYADIC_EPS : DEFAULT_EPS;
}

/** Uniform in (-1, 1), never 0. */
function uniform(shape: Shape, seed: number, name: string): Float64Array {
  return Float64Array.from(randomInput(shape, seed, name).data, (value) => value / Math.sqrt(3));
}

/** Whole numbers from -limit to limit. */
function whole(u: number, limit: number): number {
  return Math.round(u * (limit + 0.5 - 2 ** -20));
}

function tensor(shape: Shape, u: Float64Array, value: (u: number, index: number) => number): Tensor<Float32Array> {
  return { shape, data: Float32Array.from(u, value) };
}

/** The input of a network, for its node `input`. */
export function inputFor(network: Network, { regime, seed, inputScale }: Values): Tensor<Float32Array> {
  const node = network.nodes.find(({ name }) => name === network.inputs[0])!;
  const u = uniform(node.shape, seed, 'input');
  return tensor(node.shape, u, (value) => (regime === 'dyadic' ? whole(value, 4) : value * 10 ** inputScale));
}

/** Ops that multiply by a weight. */
const LINEAR: ReadonlySet<OpKind> = new Set(['conv2d', 'linear', 'setLinear']);

/** Decimal exponent of a node's output, roughly: batch norms are taken to leave it. */
function scalesByNode(network: Network, { weightScale, inputScale }: Values): ReadonlyMap<string, number> {
  const scales = new Map<string, number>();
  for (const { name, op, inputs } of network.nodes) {
    const largest = Math.max(...inputs.map((input) => scales.get(input)!));
    if (op.kind === 'input') scales.set(name, inputScale);
    else scales.set(name, LINEAR.has(op.kind) ? largest + weightScale : largest);
  }
  return scales;
}

function batchNormValue(role: Role, u: number, drawn: Values, scale: number, eps: number): number {
  const { regime, meanScale, shiftScale } = drawn;
  if (regime === 'default') return role === 'weight' || role === 'running_var' ? 1 : 0;
  if (regime === 'dyadic') {
    if (role === 'weight') return Math.sign(u) * 2 ** whole(2 * Math.abs(u) - 1, 2);
    if (role === 'running_var') return 4 ** whole(u, 2) - eps;
    return whole(u, 5);
  }
  if (role === 'weight') return Math.sign(u) * (0.5 + Math.abs(u));
  if (role === 'running_var') return 10 ** (drawn.smallVariances ? -3 + 3 * u : -0.5 + 5.5 * u); // from 1e-6
  const own = role === 'bias' ? shiftScale : meanScale;
  return u * 10 ** (regime === 'wild' ? own : scale);
}

function linearValue(role: Role, u: number, drawn: Values, scale: number, fanIn: number): number {
  const { regime, weightScale, shiftScale } = drawn;
  if (regime === 'default') return u / Math.sqrt(fanIn);
  if (regime === 'dyadic') return whole(u, 3);
  if (role === 'weight') return u * 10 ** weightScale;
  return u * 10 ** (regime === 'wild' ? shiftScale : scale);
}

/** Weights of every key of the network. */
export function weightsFor(network: Network, drawn: Values): Weights<Float32Array> {
  const scales = scalesByNode(network, drawn);
  const shapes = weightShapesByKey(network);
  const weights = new Map<string, Tensor<Float32Array>>();
  for (const node of network.nodes) {
    const scale = scales.get(node.name)!;
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) {
      const shape = shapes.get(key)!;
      const value = isKind(node, 'batchNorm')
        ? (u: number) => batchNormValue(role, u, drawn, scale, node.op.eps)
        : (u: number) => linearValue(role, u, drawn, scale, elements(shapes.get(node.weights.weight!)!.slice(1)));
      weights.set(key, tensor(shape, uniform(shape, drawn.seed, key), value));
    }
  }
  return weights;
}

/** A convolution and the map that it reads. */
export interface ConvDraw {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly op: OpOf<'conv2d'>;
}

export const KERNELS = [1, 2, 3, 4, 5, 7] as const;

const pair = <T>(element: fc.Arbitrary<T>): fc.Arbitrary<readonly [T, T]> => fc.tuple(element, element);

/** Rows or columns between the first and the last tap, both counted. */
export function extent(op: OpOf<'conv2d'>, axis: 0 | 1): number {
  return op.dilation[axis] * (op.kernel[axis] - 1) + 1;
}

export interface ConvLimits {
  readonly kernels?: readonly number[];
  readonly dilations?: readonly number[];
  /** Padding beyond half the kernel: the outermost outputs may see no input at all. */
  readonly morePadding?: number;
}

/**
 * Dense, depthwise and grouped convolutions; every kernel, stride, padding up to half the kernel and dilation, drawn for each axis;
 * maps from the smallest that has an output to a few rows and columns more.
 */
export function convolutions({
  kernels = KERNELS,
  dilations = [1, 2, 3],
  morePadding = 0,
}: ConvLimits = {}): fc.Arbitrary<ConvDraw> {
  return fc
    .record({
      batch: fc.integer({ min: 1, max: 2 }),
      groups: fc.integer({ min: 1, max: 3 }),
      inGroup: fc.integer({ min: 1, max: 3 }),
      outGroup: fc.integer({ min: 1, max: 3 }),
      kernel: pair(fc.constantFrom(...kernels)),
      stride: pair(fc.integer({ min: 1, max: 3 })),
      paddingShare: pair(fc.double({ min: 0, max: 1, noNaN: true })),
      more: pair(fc.integer({ min: 0, max: morePadding })),
      dilation: pair(fc.constantFrom(...dilations)),
      bias: fc.boolean(),
      extra: pair(fc.integer({ min: 0, max: 4 })),
    })
    .map(({ batch, groups, inGroup, outGroup, kernel, stride, paddingShare, more, dilation, bias, extra }) => {
      const bare = { kind: 'conv2d', outChannels: groups * outGroup, kernel, stride, dilation, groups, bias } as const;
      const half = (axis: 0 | 1) => extent({ ...bare, padding: [0, 0] }, axis) / 2;
      const pad = (axis: 0 | 1) => Math.floor(paddingShare[axis] * half(axis)) + more[axis];
      const op = { ...bare, padding: [pad(0), pad(1)] } as const;
      const size = (axis: 0 | 1) => Math.max(1, extent(op, axis) - 2 * op.padding[axis]) + extra[axis];
      return { batch, channels: groups * inGroup, height: size(0), width: size(1), op };
    });
}

/** The same without padding, on maps that are large enough for it. */
export const unpaddedConvolutions: fc.Arbitrary<ConvDraw> = convolutions().map((draw) => {
  const op = { ...draw.op, padding: [0, 0] } as const;
  const enough = (length: number, axis: 0 | 1) => Math.max(length, extent(op, axis));
  return { ...draw, height: enough(draw.height, 0), width: enough(draw.width, 1), op };
});

/** bn -> conv, as modules `m.bn` and `m.c`. */
export function normConv({ batch, channels, height, width, op }: ConvDraw, eps: number): Network {
  const builder = new NetworkBuilder('norm-conv');
  const x = builder.input('input', [batch, channels, height, width]);
  return builder.build(builder.add('m.c', op, [builder.add('m.bn', { kind: 'batchNorm', eps }, [x])]));
}

/** A layer on a pooled map: a linear, or a 1x1 convolution. */
export interface PoolDraw {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly layer: 'linear' | 'conv2d';
  readonly groups: number;
  readonly inGroup: number;
  readonly outGroup: number;
  readonly bias: boolean;
}

/** @param lengths of the map, along each axis */
export function pools(...lengths: readonly [number, ...number[]]): fc.Arbitrary<PoolDraw> {
  const few = fc.integer({ min: 1, max: 3 });
  return fc
    .record({
      batch: few,
      height: fc.constantFrom(...lengths),
      width: fc.constantFrom(...lengths),
      layer: fc.constantFrom('linear' as const, 'conv2d' as const),
      groups: few,
      inGroup: few,
      outGroup: few,
      bias: fc.boolean(),
    })
    .map((draw) => (draw.layer === 'linear' ? { ...draw, groups: 1 } : draw));
}

/** bn -> pool -> layer, as modules `m.bn`, `m.pool` and `m.l`; the bn reads `input`. */
export function normPool(
  { batch, height, width, layer, groups, inGroup, outGroup, bias }: PoolDraw,
  eps: number,
): Network {
  const builder = new NetworkBuilder('norm-pool');
  const x = builder.input('input', [batch, groups * inGroup, height, width]);
  const normed = builder.add('m.bn', { kind: 'batchNorm', eps }, [x]);
  const pooled = builder.add('m.pool', { kind: 'globalAvgPool', keepDims: layer === 'conv2d' }, [normed]);
  const outputs = groups * outGroup;
  if (layer === 'linear') {
    return builder.build(builder.add('m.l', { kind: 'linear', outFeatures: outputs, bias }, [pooled]));
  }
  const fixed = { kind: 'conv2d', kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1] } as const;
  return builder.build(builder.add('m.l', { ...fixed, outChannels: outputs, groups, bias }, [pooled]));
}

/** conv -> bn, as modules `m.c` and `m.bn`. */
export function convNorm({ batch, channels, height, width, op }: ConvDraw, eps: number): Network {
  const builder = new NetworkBuilder('conv-norm');
  const x = builder.input('input', [batch, channels, height, width]);
  return builder.build(builder.add('m.bn', { kind: 'batchNorm', eps }, [builder.add('m.c', op, [x])]));
}

/** RepVGGDW: odd kernels of both branches, current or legacy. */
export interface RepVggDwDraw {
  readonly legacy: boolean;
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly kernel: Pair;
  readonly smallKernel: Pair;
}

const odd = fc.constantFrom(1, 3, 5, 7);

export const repVggDws: fc.Arbitrary<RepVggDwDraw> = fc
  .record({
    legacy: fc.boolean(),
    batch: fc.integer({ min: 1, max: 2 }),
    channels: fc.integer({ min: 1, max: 4 }),
    height: fc.integer({ min: 1, max: 9 }),
    width: fc.integer({ min: 1, max: 9 }),
    kernel: fc.oneof(
      odd.map((k) => [k, k] as const),
      pair(odd),
    ),
    small: fc.oneof({ weight: 3, arbitrary: fc.constant([1, 1] as const) }, { weight: 1, arbitrary: pair(odd) }),
  })
  .map(({ small, ...draw }) => ({
    ...draw,
    smallKernel: [Math.min(small[0], draw.kernel[0]), Math.min(small[1], draw.kernel[1])],
  }));

/** Modules `m.conv.c`, `m.conv.bn`, `m.conv1` (legacy: `m.conv1.c`, `m.conv1.bn`), `m.add` and, current only, `m.bn`. */
export function repVggDwNetwork(draw: RepVggDwDraw, eps: number): Network {
  const { legacy, batch, channels, height, width, kernel, smallKernel } = draw;
  const builder = new NetworkBuilder('repvggdw');
  const x = builder.input('input', [batch, channels, height, width]);
  const norm = (name: string, from: string) => builder.add(name, { kind: 'batchNorm', eps }, [from]);
  const depthwise = (name: string, size: Pair, bias: boolean) => {
    const padding = [(size[0] - 1) / 2, (size[1] - 1) / 2] as const;
    const fixed = { kind: 'conv2d', stride: [1, 1], dilation: [1, 1], groups: channels } as const;
    return builder.add(name, { ...fixed, outChannels: channels, kernel: size, padding, bias }, [x]);
  };
  const large = norm('m.conv.bn', depthwise('m.conv.c', kernel, false));
  const small = legacy
    ? norm('m.conv1.bn', depthwise('m.conv1.c', smallKernel, false))
    : depthwise('m.conv1', smallKernel, true);
  const sum = builder.add('m.add', { kind: 'add' }, [large, small, x]);
  return builder.build(legacy ? sum : norm('m.bn', sum));
}

/** Heads of a classifier on [batch, features]; each is bn -> linear where `norm`. */
export interface HeadsDraw {
  readonly batch: number;
  readonly features: number;
  readonly classes: number;
  readonly biases: readonly boolean[];
}

export function heads(minimum: number, maximum: number): fc.Arbitrary<HeadsDraw> {
  return fc.record({
    batch: fc.integer({ min: 1, max: 3 }),
    features: fc.integer({ min: 1, max: 9 }),
    classes: fc.integer({ min: 1, max: 7 }),
    biases: fc.array(fc.boolean(), { minLength: minimum, maxLength: maximum }),
  });
}

/** bn -> linear, as modules `m.bn` and `m.l`. */
export function normLinear({ batch, features, classes, biases }: HeadsDraw, eps: number): Network {
  const builder = new NetworkBuilder('norm-linear');
  const normed = builder.add('m.bn', { kind: 'batchNorm', eps }, [builder.input('input', [batch, features])]);
  return builder.build(builder.add('m.l', { kind: 'linear', outFeatures: classes, bias: biases[0] ?? true }, [normed]));
}

/** The mean of linears `m.0`, `m.1`, ... of one input: their sum `m.add` times the constant `m.mean`. */
export function averagedHeads({ batch, features, classes, biases }: HeadsDraw): Network {
  const builder = new NetworkBuilder('averaged-heads');
  const x = builder.input('input', [batch, features]);
  const linears = biases.map((bias, i) => builder.add(`m.${i}`, { kind: 'linear', outFeatures: classes, bias }, [x]));
  const sum = builder.add('m.add', { kind: 'add' }, linears);
  return builder.build(builder.add('m.mean', { kind: 'scale', factor: 1 / linears.length }, [sum]));
}

/** Maps [N, C, H, W] in windows: C = perSet * sets, H and W whole numbers of windows. */
export interface WindowsDraw {
  readonly batch: number;
  readonly perSet: number;
  readonly sets: number;
  /** Windows along each axis. */
  readonly parts: Pair;
  readonly window: Pair;
  /** Of fc3. */
  readonly bias: boolean;
}

export const windows: fc.Arbitrary<WindowsDraw> = fc.record({
  batch: fc.integer({ min: 1, max: 2 }),
  perSet: fc.integer({ min: 1, max: 3 }),
  sets: fc.integer({ min: 1, max: 3 }),
  parts: pair(fc.integer({ min: 1, max: 2 })),
  window: pair(fc.integer({ min: 1, max: 4 })),
  bias: fc.boolean(),
});

/** partition -> fc3 -> departition of `x`, as modules `m.partition`, `m.fc3` and `m.departition`. */
function windowed(builder: NetworkBuilder, x: string, { perSet, sets, parts, window, bias }: WindowsDraw): string {
  const cut = builder.add('m.partition', { kind: 'partition', window, sets }, [x]);
  const mixed = builder.add('m.fc3', { kind: 'setLinear', bias }, [cut]);
  return builder.add('m.departition', { kind: 'departition', channels: perSet * sets, parts }, [mixed]);
}

function mapShape({ batch, perSet, sets, parts, window }: WindowsDraw): Shape {
  return [batch, perSet * sets, parts[0] * window[0], parts[1] * window[1]];
}

export function windowNetwork(draw: WindowsDraw): Network {
  const builder = new NetworkBuilder('windows');
  return builder.build(windowed(builder, builder.input('input', mapShape(draw)), draw));
}

/** The same behind a batch norm `m.prebn`. */
export function normWindows(draw: WindowsDraw, eps: number): Network {
  const builder = new NetworkBuilder('norm-windows');
  const normed = builder.add('m.prebn', { kind: 'batchNorm', eps }, [builder.input('input', mapShape(draw))]);
  return builder.build(windowed(builder, normed, draw));
}

/** The same with `m.prebn` behind, on the channels that are put out. */
export function windowsNorm(draw: WindowsDraw, eps: number): Network {
  const builder = new NetworkBuilder('windows-norm');
  const mixed = windowed(builder, builder.input('input', mapShape(draw)), draw);
  return builder.build(builder.add('m.prebn', { kind: 'batchNorm', eps }, [mixed]));
}

/** fc3 -> bn on windows [R, S, h, w], as modules `m.fc3` and `m.fc3_bn`. */
export function setLinearNorm({ batch, sets, window, bias }: WindowsDraw, eps: number): Network {
  const builder = new NetworkBuilder('set-linear-norm');
  const mixed = builder.add('m.fc3', { kind: 'setLinear', bias }, [builder.input('input', [batch, sets, ...window])]);
  return builder.build(builder.add('m.fc3_bn', { kind: 'batchNorm', eps }, [mixed]));
}

/** A depthwise convolution of the local perceptron, with a batch norm behind it where `norm`. */
export interface BranchDraw {
  readonly kernel: Pair;
  readonly bias: boolean;
  readonly norm: boolean;
}

/** fc3 and the local perceptron on windows [batch, S, h, w]. */
export interface LocalityDraw {
  readonly batch: number;
  readonly sets: number;
  readonly window: Pair;
  readonly fc3: Omit<BranchDraw, 'kernel'>;
  /** Position of fc3 among the terms of the sum. */
  readonly fc3At: number;
  readonly branches: readonly BranchDraw[];
}

const fc3s = fc.record({ bias: fc.boolean(), norm: fc.boolean() });

/** Kernels are any of 1, 3, 5 and 7, each once, or oblong ones; windows may be smaller than they are. */
export const localities: fc.Arbitrary<LocalityDraw> = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  sets: fc.integer({ min: 1, max: 3 }),
  window: pair(fc.integer({ min: 1, max: 5 })),
  fc3: fc3s,
  fc3At: fc.nat(4),
  branches: fc
    .oneof(
      fc.subarray([1, 3, 5, 7], { minLength: 1 }).map((kernels) => kernels.map((k) => [k, k] as const)),
      fc.array(pair(odd), { minLength: 1, maxLength: 2 }),
    )
    .chain((kernels) => fc.tuple(...kernels.map((kernel) => fc3s.map((rest) => ({ kernel, ...rest }))))),
});

/** Modules `m.fc3`, `m.fc3_bn`, for each branch `m.repconv0.conv` and `m.repconv0.bn`, and `m.add`. */
export function localityNetwork({ batch, sets, window, fc3, fc3At, branches }: LocalityDraw, eps: number): Network {
  const builder = new NetworkBuilder('locality');
  const x = builder.input('input', [batch, sets, ...window]);
  const normed = (name: string, from: string, norm: boolean) =>
    norm ? builder.add(name, { kind: 'batchNorm', eps }, [from]) : from;
  const mixed = builder.add('m.fc3', { kind: 'setLinear', bias: fc3.bias }, [x]);
  const first = normed('m.fc3_bn', mixed, fc3.norm);
  const terms = branches.map(({ kernel, bias, norm }, i) => {
    const padding = [(kernel[0] - 1) / 2, (kernel[1] - 1) / 2] as const;
    const fixed = { kind: 'conv2d', stride: [1, 1], dilation: [1, 1], groups: sets, outChannels: sets } as const;
    const convolved = builder.add(`m.repconv${i}.conv`, { ...fixed, kernel, padding, bias }, [x]);
    return normed(`m.repconv${i}.bn`, convolved, norm);
  });
  return builder.build(builder.add('m.add', { kind: 'add' }, terms.toSpliced(fc3At, 0, first)));
}

/** Nodes that are no input. */
export function operations(network: Network): readonly Node[] {
  return network.nodes.filter(({ op }) => op.kind !== 'input');
}
