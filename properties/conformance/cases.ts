import { NetworkBuilder } from '../../src/network/builder.ts';
import type { Network, Op, OpKind, OpOf, Pair } from '../../src/network/ops.ts';
import { windowsOf } from '../../src/network/shapes.ts';
import { elements, type Shape, type Tensor, type Weights } from '../../src/network/tensor.ts';
import { randomInput, randomWeights } from '../../src/weights/random.ts';

/** A network that every engine must compute, with what it is computed on. */
export interface ConformanceCase {
  readonly name: string;
  readonly network: Network;
  readonly weights: Weights<Float32Array>;
  readonly inputs: ReadonlyMap<string, Tensor<Float32Array>>;
}

const SEED = 7;

const format = (pair: Pair): string => pair.join('x');

/** One op on inputs `x`, `y`, ... of these shapes, with random weights. */
function single(name: string, op: Op, ...shapes: readonly Shape[]): ConformanceCase {
  return onInputs(
    name,
    op,
    shapes.map((shape, i) => randomInput(shape, SEED, `input ${i}`)),
  );
}

function onInputs(name: string, op: Op, tensors: readonly Tensor<Float32Array>[]): ConformanceCase {
  const builder = new NetworkBuilder(name);
  const inputs = new Map(tensors.map((tensor, i) => [['x', 'y', 'z'][i]!, tensor]));
  for (const [input, { shape }] of inputs) builder.input(input, shape);
  const network = builder.build(builder.add(op.kind, op, [...inputs.keys()]));
  return { name, network, weights: randomWeights(network, SEED), inputs };
}

function row(values: readonly number[]): Tensor<Float32Array> {
  return { shape: [1, values.length], data: Float32Array.from(values) };
}

/** `count` points from `low` to `high`. */
function grid(low: number, high: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
}

const SMALLEST_SUBNORMAL = 2 ** -149;
const LARGEST_SUBNORMAL = 2 ** -126 - 2 ** -149;
/** Zeros of both signs, subnormals, the smallest normal numbers and numbers about 1. */
const CORNERS = [0, SMALLEST_SUBNORMAL, LARGEST_SUBNORMAL, 2 ** -126, 2 ** -24, 1].flatMap((value) => [value, -value]);

type Conv = Partial<Omit<OpOf<'conv2d'>, 'kind'>>;

function conv(x: Shape, given: Conv): ConformanceCase {
  const op: OpOf<'conv2d'> = {
    kind: 'conv2d',
    outChannels: 6,
    kernel: [3, 3],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
    bias: true,
    ...given,
  };
  const name = [
    `conv2d ${x.join('x')} to ${op.outChannels}`,
    `kernel ${format(op.kernel)}`,
    `stride ${format(op.stride)}`,
    `padding ${format(op.padding)}`,
    `dilation ${format(op.dilation)}`,
    `groups ${op.groups}`,
    op.bias ? 'with bias' : 'without bias',
  ].join(', ');
  return single(name, op, x);
}

const KERNELS: readonly Pair[] = [
  [1, 1],
  [3, 3],
  [5, 5],
  [1, 3],
  [3, 1],
  [2, 2],
];
const STRIDES: readonly Pair[] = [
  [1, 1],
  [2, 2],
  [3, 3],
  [1, 2],
  [2, 1],
];
const PADDINGS: readonly Pair[] = [
  [0, 0],
  [1, 1],
  [2, 2],
  [3, 3],
  [1, 0],
  [0, 2],
];
/** From 4 channels: dense, in two groups, depthwise, depthwise with multiplier 2. */
const GROUPINGS = [
  { groups: 1, outChannels: 6 },
  { groups: 2, outChannels: 6 },
  { groups: 4, outChannels: 4 },
  { groups: 4, outChannels: 8 },
] as const;
const MAPS: readonly Pair[] = [
  [9, 7],
  [6, 11],
  [5, 5],
];

/** Every kernel with every stride, padding and grouping; batch, map and bias take turns. */
const convProduct: readonly ConformanceCase[] = KERNELS.flatMap((kernel) =>
  STRIDES.flatMap((stride) =>
    PADDINGS.flatMap((padding) => GROUPINGS.map((grouping) => ({ kernel, stride, padding, ...grouping }))),
  ),
).map((given, i) => conv([i % 4 === 0 ? 3 : 1, 4, ...MAPS[i % MAPS.length]!], { ...given, bias: i % 5 < 3 }));

const convCases: readonly ConformanceCase[] = [
  ...convProduct,
  ...GROUPINGS.flatMap((grouping) => [
    conv([1, 4, 9, 8], { ...grouping, padding: [2, 2], dilation: [2, 2] }),
    conv([3, 4, 9, 8], { ...grouping, kernel: [1, 3], padding: [0, 2], dilation: [1, 2] }),
    conv([1, 4, 9, 8], { ...grouping, padding: [2, 2], dilation: [2, 2], stride: [2, 2] }),
    conv([1, 4, 3, 3], grouping), // as small as its kernel
    conv([1, 4, 1, 1], { ...grouping, kernel: [5, 5], padding: [2, 2] }), // smaller
    conv([1, 4, 1, 1], { ...grouping, kernel: [1, 1] }),
  ]),
  conv([1, 1, 6, 5], { outChannels: 1 }),
  conv([3, 1, 6, 5], { outChannels: 5, stride: [2, 2], padding: [1, 1] }),
  conv([1, 3, 33, 31], { outChannels: 24, stride: [2, 2], padding: [1, 1] }),
  conv([1, 96, 14, 14], { outChannels: 192, kernel: [1, 1] }),
  conv([1, 96, 14, 13], { outChannels: 96, groups: 96, padding: [1, 1] }),
  conv([1, 96, 14, 13], { outChannels: 96, groups: 96, padding: [1, 1], stride: [2, 2] }),
  conv([1, 40, 1, 1], { outChannels: 60, kernel: [1, 1], groups: 20 }),
];

/** Both signs of gamma, variances from 1e-6 to 1e5. */
function batchNorm(shape: Shape, eps: number): ConformanceCase {
  const { network, inputs, ...random } = single(
    `batchNorm ${shape.join('x')}, eps ${eps}`,
    { kind: 'batchNorm', eps },
    shape,
  );
  const variances = Float32Array.from({ length: shape[1]! }, (_, c) => 10 ** (-6 + ((11 * c) / shape[1]!) * 1.2));
  const key = 'batchNorm.running_var';
  return {
    ...random,
    network,
    inputs,
    weights: new Map([...random.weights, [key, { shape: [shape[1]!], data: variances }]]),
  };
}

function pool(shape: Shape, keepDims: boolean): ConformanceCase {
  return single(
    `globalAvgPool ${shape.join('x')}${keepDims ? ', keeping dimensions' : ''}`,
    { kind: 'globalAvgPool', keepDims },
    shape,
  );
}

/** Dense convolution on data of another scale. */
function scaled(factor: number): ConformanceCase {
  const { network, weights } = conv([1, 4, 6, 5], { padding: [1, 1] });
  const { shape, data } = randomInput([1, 4, 6, 5], SEED);
  return {
    name: `conv2d on data of scale ${factor}`,
    network,
    weights,
    inputs: new Map([['x', { shape, data: data.map((value) => value * factor) }]]),
  };
}

/** Maps cut into windows, with the channels dealt to share-sets. */
interface Cut {
  readonly map: Shape;
  readonly window: Pair;
  readonly sets: number;
}

const CUTS: readonly Cut[] = [
  { map: [1, 6, 4, 9], window: [2, 3], sets: 1 },
  { map: [1, 6, 4, 9], window: [2, 3], sets: 3 },
  { map: [3, 6, 4, 9], window: [2, 3], sets: 2 },
  { map: [3, 6, 4, 9], window: [2, 3], sets: 6 }, // a channel for each share-set
  { map: [1, 6, 3, 5], window: [3, 5], sets: 1 }, // the whole map
  { map: [2, 8, 3, 5], window: [3, 5], sets: 4 },
  { map: [1, 8, 6, 2], window: [2, 2], sets: 2 }, // cut along one axis
  { map: [2, 4, 2, 9], window: [2, 3], sets: 2 },
  { map: [2, 6, 3, 2], window: [1, 1], sets: 3 },
  { map: [1, 1, 3, 2], window: [3, 2], sets: 1 },
  { map: [1, 16, 14, 14], window: [14, 14], sets: 4 }, // large enough for another kernel of wasm's
  { map: [2, 8, 24, 8], window: [12, 8], sets: 2 },
];

const cutName = ({ map, window, sets }: Cut): string =>
  `${map.join('x')} in windows ${format(window)}, share-sets ${sets}`;

const partitionOf = ({ window, sets }: Cut): OpOf<'partition'> => ({ kind: 'partition', window, sets });

function windowsShape({ map, ...cut }: Cut): { readonly shape: Shape; readonly parts: Pair } {
  return windowsOf({ name: 'cut', op: partitionOf({ map, ...cut }), inputs: [], weights: {}, shape: [] }, map);
}

const partitionCases = CUTS.map((cut) => single(`partition of ${cutName(cut)}`, partitionOf(cut), cut.map));

const departitionCases = CUTS.map((cut) => {
  const { shape, parts } = windowsShape(cut);
  return single(`departition to ${cutName(cut)}`, { kind: 'departition', channels: cut.map[1]!, parts }, shape);
});

const setLinearCases = CUTS.flatMap((cut) =>
  [true, false].map((bias) => {
    const { shape } = windowsShape(cut);
    return single(
      `setLinear on ${shape.join('x')} ${bias ? 'with' : 'without'} bias`,
      { kind: 'setLinear', bias },
      shape,
    );
  }),
);

const windowLinearCases = CUTS.flatMap((cut) =>
  [true, false].flatMap((bias) =>
    [true, false].map((affine) => {
      const name = `windowLinear on ${cutName(cut)}, ${bias ? 'with' : 'without'} bias${affine ? ', affine' : ''}`;
      return single(name, { kind: 'windowLinear', window: cut.window, sets: cut.sets, bias, affine }, cut.map);
    }),
  ),
);

/** A RepMLPBlock on two windows of two share-sets in either form, one behind the other. */
function perceptrons(): ConformanceCase {
  const builder = new NetworkBuilder('perceptrons');
  const shape: Shape = [2, 4, 3, 8];
  const batchNorm: Op = { kind: 'batchNorm', eps: 1e-5 };
  const convOp = (outChannels: number, kernel: number, groups: number, bias: boolean): Op => ({
    kind: 'conv2d',
    outChannels,
    kernel: [kernel, kernel],
    stride: [1, 1],
    padding: [(kernel - 1) / 2, (kernel - 1) / 2],
    dilation: [1, 1],
    groups,
    bias,
  });
  const x = builder.input('x', shape);
  const norm = builder.add('prebn', batchNorm, [x]);
  const pool = builder.add('pool', { kind: 'globalAvgPool', keepDims: true }, [norm]);
  const squeezed = builder.add('fc1', convOp(2, 1, 1, true), [pool]);
  const relu = builder.add('relu', { kind: 'relu' }, [squeezed]);
  const gate = builder.add('gate', { kind: 'sigmoid' }, [builder.add('fc2', convOp(4, 1, 1, true), [relu])]);
  const windows = builder.add('partition', { kind: 'partition', window: [3, 4], sets: 2 }, [norm]);
  const linear = builder.add('fc3', { kind: 'setLinear', bias: false }, [windows]);
  const channel = builder.add('fc3_bn', batchNorm, [linear]);
  const local = [1, 3].map((kernel) => {
    const conv = builder.add(`conv${kernel}`, convOp(2, kernel, 2, false), [windows]);
    return builder.add(`bn${kernel}`, batchNorm, [conv]);
  });
  const sum = builder.add('sum', { kind: 'add' }, [channel, ...local]);
  const maps = builder.add('departition', { kind: 'departition', channels: 4, parts: [1, 2] }, [sum]);
  const shortcut = builder.add('shortcut', { kind: 'add' }, [x, builder.add('gated', { kind: 'mul' }, [maps, gate])]);
  const fused = builder.add('fused', { kind: 'windowLinear', window: [3, 4], sets: 2, bias: true, affine: true }, [
    shortcut,
  ]);
  const network = builder.build(builder.add('again', { kind: 'mul' }, [fused, gate]));
  const inputs = new Map([['x', randomInput(shape, SEED)]]);
  return { name: 'layers over windows, local and global', network, weights: randomWeights(network, SEED), inputs };
}

/** The ops together: a branch, a gate, a head. */
function mixed(): ConformanceCase {
  const builder = new NetworkBuilder('mixed');
  const convOp = (given: Conv): Op => ({
    kind: 'conv2d',
    outChannels: 8,
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
    bias: true,
    ...given,
  });
  const x = builder.input('x', [2, 3, 13, 11]);
  const stem = builder.add('stem', convOp({ kernel: [3, 3], stride: [2, 2], padding: [1, 1], bias: false }), [x]);
  const norm = builder.add('norm', { kind: 'batchNorm', eps: 1e-5 }, [stem]);
  const act = builder.add('act', { kind: 'gelu' }, [norm]);
  const depthwise = builder.add('depthwise', convOp({ kernel: [3, 3], padding: [1, 1], groups: 8 }), [act]);
  const pointwise = builder.add('pointwise', convOp({}), [act]);
  const half = builder.add('half', { kind: 'scale', factor: 0.5 }, [act]);
  const sum = builder.add('sum', { kind: 'add' }, [depthwise, pointwise, half]);
  const squeeze = builder.add('squeeze', { kind: 'globalAvgPool', keepDims: true }, [sum]);
  const reduce = builder.add('reduce', convOp({ outChannels: 2 }), [squeeze]);
  const relu = builder.add('relu', { kind: 'relu' }, [reduce]);
  const expand = builder.add('expand', convOp({}), [relu]);
  const gate = builder.add('gate', { kind: 'sigmoid' }, [expand]);
  const gated = builder.add('gated', { kind: 'mul' }, [sum, gate]);
  const pooled = builder.add('pooled', { kind: 'globalAvgPool', keepDims: false }, [gated]);
  const headNorm = builder.add('headNorm', { kind: 'batchNorm', eps: 1e-5 }, [pooled]);
  const network = builder.build(builder.add('head', { kind: 'linear', outFeatures: 5, bias: true }, [headNorm]));
  const inputs = new Map([['x', randomInput([2, 3, 13, 11], SEED)]]);
  return { name: 'a small network of all ops', network, weights: randomWeights(network, SEED), inputs };
}

export const mixedCase: ConformanceCase = mixed();

/** Total over the ops: an op without cases does not compile. */
const casesByOp: Readonly<Record<Exclude<OpKind, 'input'>, readonly ConformanceCase[]>> = {
  conv2d: [...convCases, scaled(1e6), scaled(1e-6), scaled(2 ** -130)],
  batchNorm: [
    batchNorm([1, 8], 1e-5),
    batchNorm([3, 8], 1e-3),
    batchNorm([2, 8, 5], 1e-5),
    batchNorm([1, 8, 5, 7], 1e-5),
    batchNorm([3, 8, 4, 3], 1e-3),
    batchNorm([3, 1, 4, 3], 1e-5),
  ],
  linear: [
    single('linear 1x17 to 5', { kind: 'linear', outFeatures: 5, bias: true }, [1, 17]),
    single('linear 3x17 to 5 without bias', { kind: 'linear', outFeatures: 5, bias: false }, [3, 17]),
    single('linear 3x1 to 1', { kind: 'linear', outFeatures: 1, bias: true }, [3, 1]),
    single('linear 1x384 to 1000', { kind: 'linear', outFeatures: 1000, bias: true }, [1, 384]),
  ],
  add: [
    single('add of 2', { kind: 'add' }, [3, 4, 5, 3], [3, 4, 5, 3]),
    single('add of 3', { kind: 'add' }, [1, 4, 5, 3], [1, 4, 5, 3], [1, 4, 5, 3]),
    single('add of 2 rows', { kind: 'add' }, [3, 7], [3, 7]),
  ],
  mul: [
    single('mul by a gate', { kind: 'mul' }, [1, 4, 5, 3], [1, 4, 1, 1]),
    single('mul by a gate, batch 3', { kind: 'mul' }, [3, 4, 5, 3], [3, 4, 1, 1]),
    single('mul by a gate on a map of 1x1', { kind: 'mul' }, [3, 4, 1, 1], [3, 4, 1, 1]),
  ],
  scale: [
    single('scale by 0.37', { kind: 'scale', factor: 0.37 }, [3, 4, 5, 3]),
    single('scale by -2', { kind: 'scale', factor: -2 }, [1, 7]),
  ],
  relu: [
    single('relu on a map', { kind: 'relu' }, [3, 4, 5, 3]),
    onInputs('relu over [-10, 10]', { kind: 'relu' }, [row(grid(-10, 10, 201))]),
    onInputs('relu on corner values', { kind: 'relu' }, [row(CORNERS)]),
  ],
  gelu: [
    single('gelu on a map', { kind: 'gelu' }, [3, 4, 5, 3]),
    onInputs('gelu over [-40, 40]', { kind: 'gelu' }, [row(grid(-40, 40, 8001))]),
    onInputs('gelu over [-6, 6]', { kind: 'gelu' }, [row(grid(-6, 6, 24001))]),
    onInputs('gelu on corner values', { kind: 'gelu' }, [row(CORNERS)]),
  ],
  sigmoid: [
    single('sigmoid on a gate', { kind: 'sigmoid' }, [3, 4, 1, 1]),
    onInputs('sigmoid over [-100, 100]', { kind: 'sigmoid' }, [row(grid(-100, 100, 8001))]),
    onInputs('sigmoid on corner values', { kind: 'sigmoid' }, [row(CORNERS)]),
  ],
  globalAvgPool: [
    pool([1, 4, 5, 3], true),
    pool([3, 4, 5, 3], false),
    pool([3, 4, 1, 1], true),
    pool([3, 4, 1, 1], false),
    pool([1, 1, 2, 1], false),
    pool([1, 5, 56, 56], true),
  ],
  partition: partitionCases,
  departition: departitionCases,
  setLinear: setLinearCases,
  windowLinear: windowLinearCases,
};

export const cases: readonly ConformanceCase[] = [...Object.values(casesByOp).flat(), mixedCase, perceptrons()];

/** Elements of the case's output. */
export function outputElements({ network }: ConformanceCase): number {
  return elements(network.nodes.find(({ name }) => name === network.output)?.shape ?? [0]);
}
