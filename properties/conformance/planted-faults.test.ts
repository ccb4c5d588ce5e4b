import { describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import { openAvailable, openEngine } from '../../src/engines/index.ts';
import { type Compute, type Tfjs, type TfjsRules, tfjsEngine, tfjsRules } from '../../src/engines/tfjs.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import type { Network, Role } from '../../src/network/ops.ts';
import type { FloatArray, Tensor, Weights } from '../../src/network/tensor.ts';
import { type ConformanceCase, cases } from './cases.ts';
import { checkCase } from './check.ts';

type Tensor4D = import('@tensorflow/tfjs-core').Tensor4D;

interface PlantedFault {
  readonly fault: string;
  readonly rules: Partial<TfjsRules>;
  /** Cases of which at least one must fail. */
  readonly caughtBy: RegExp;
}

const withOp = (rule: TfjsRules['conv2d'], change: object): TfjsRules['conv2d'] => {
  return (node, loading) => rule({ ...node, op: { ...node.op, ...change } }, loading);
};

/** tfjs' own 'same', which pads more at the end than at the beginning. */
const samePadding: TfjsRules['conv2d'] = (node, loading) => {
  const { tf, upload, weight, inputShape } = loading;
  const { outChannels, kernel, stride, groups } = node.op;
  if (groups > 1) return tfjsRules.conv2d(node, loading);
  const filter = tf.tidy(() =>
    tf.transpose(
      tf.tensor(Float32Array.from(weight('weight')), [outChannels, inputShape[1]!, ...kernel]),
      [2, 3, 1, 0],
    ),
  ) as Tensor4D;
  const bias = upload(node.op.bias ? weight('bias') : new Float32Array(outChannels), [outChannels]);
  return ([x]) => tf.add(tf.conv2d(x as Tensor4D, filter, [...stride] as [number, number], 'same'), bias);
};

/** The taps of each kernel in reverse. */
const flipped: TfjsRules['conv2d'] = (node, loading) => {
  const taps = node.op.kernel[0] * node.op.kernel[1];
  const flip = (weight: FloatArray) => weight.map((_, i) => weight[i - (i % taps) + (taps - 1 - (i % taps))]!);
  const weight = (role: Role) => (role === 'weight' ? flip(loading.weight(role)) : loading.weight(role));
  return tfjsRules.conv2d(node, { ...loading, weight });
};

const tanhGelu =
  (tf: Tfjs): Compute =>
  ([x]) => {
    const inner = tf.mul(tf.add(x!, tf.mul(tf.pow(x!, 3), 0.044715)), Math.sqrt(2 / Math.PI));
    return tf.mul(tf.mul(x!, 0.5), tf.add(tf.tanh(inner), 1));
  };

/** The inverse of partition. */
const inPlace: TfjsRules['departition'] =
  ({ op, shape: [n = 0, channels = 0, height = 0, width = 0] }, { tf, inputShape: [, sets = 0, h = 0, w = 0] }) =>
  ([x]) => {
    const windows = tf.reshape(x!, [n * op.parts[0], op.parts[1], channels / sets, h, w, sets]);
    return tf.reshape(tf.transpose(windows, [0, 3, 1, 4, 2, 5]), [n, height, width, channels]);
  };

const transposedWeights: TfjsRules['setLinear'] = (node, loading) => {
  const pixels = node.shape[2]! * node.shape[3]!;
  const transposed = (data: FloatArray) =>
    data.map((_, i) => {
      const [set, row, column] = [Math.floor(i / pixels ** 2), Math.floor(i / pixels) % pixels, i % pixels];
      return data[(set * pixels + column) * pixels + row]!;
    });
  const weight = (role: Role) => (role === 'weight' ? transposed(loading.weight(role)) : loading.weight(role));
  return tfjsRules.setLinear(node, { ...loading, weight });
};

const shiftedRowSums: TfjsRules['windowLinear'] = (node, loading) => {
  const pixels = node.op.window[0] * node.op.window[1];
  const shifted = (data: FloatArray) => data.map((_, i) => data[(i + pixels) % data.length]!);
  const weight = (role: Role) => (role === 'row_sum' ? shifted(loading.weight(role)) : loading.weight(role));
  return tfjsRules.windowLinear(node, { ...loading, weight });
};

const faults: readonly PlantedFault[] = [
  {
    fault: "'same' padding at stride 2",
    rules: { conv2d: samePadding },
    caughtBy: /6x11 .*3x3, stride 2x2, padding 1x1/,
  },
  {
    fault: 'no dilation',
    rules: { conv2d: withOp(tfjsRules.conv2d, { dilation: [1, 1], padding: [1, 1] }) },
    caughtBy: /3x3, stride 1x1, padding 2x2, dilation 2x2/,
  },
  {
    fault: 'kernels flipped, as in a true convolution',
    rules: { conv2d: flipped },
    caughtBy: /3x3, stride 1x1, padding 0x0/,
  },
  {
    fault: 'bias left out',
    rules: { conv2d: withOp(tfjsRules.conv2d, { bias: false }) },
    caughtBy: /kernel 1x1, stride 1x1, .* with bias/,
  },
  {
    fault: 'eps left out',
    rules: { batchNorm: (node, loading) => tfjsRules.batchNorm({ ...node, op: { ...node.op, eps: 0 } }, loading) },
    caughtBy: /batchNorm/,
  },
  { fault: 'the tanh form of GELU', rules: { gelu: (_node, { tf }) => tanhGelu(tf) }, caughtBy: /gelu on a map/ },
  {
    fault: 'ReLU6',
    rules: {
      relu:
        (_node, { tf }) =>
        ([x]) =>
          tf.relu6(x!),
    },
    caughtBy: /relu over/,
  },
  {
    fault: 'a hard sigmoid',
    rules: {
      sigmoid:
        (_node, { tf }) =>
        ([x]) =>
          tf.clipByValue(tf.add(tf.mul(x!, 1 / 6), 0.5), 0, 1),
    },
    caughtBy: /sigmoid on a gate/,
  },
  {
    fault: 'the largest in place of the mean',
    rules: {
      globalAvgPool:
        (node, { tf }) =>
        ([x]) =>
          tf.max(x!, [1, 2], node.op.keepDims),
    },
    caughtBy: /globalAvgPool/,
  },
  {
    fault: 'the third summand left out',
    rules: {
      add:
        (_node, { tf }) =>
        ([x, y]) =>
          tf.add(x!, y!),
    },
    caughtBy: /add of 3/,
  },
  {
    fault: "the first image's gate for all",
    rules: {
      mul:
        (_node, { tf }) =>
        ([x, gate]) =>
          tf.mul(x!, tf.slice(gate!, 0, 1)),
    },
    caughtBy: /batch 3/,
  },
  {
    fault: 'a scale left out',
    rules: {
      scale:
        () =>
        ([x]) =>
          x!.clone(),
    },
    caughtBy: /scale by/,
  },
  {
    fault: "a linear layer's bias left out",
    rules: { linear: (node, loading) => tfjsRules.linear({ ...node, op: { ...node.op, bias: false } }, loading) },
    caughtBy: /linear 1x17/,
  },
  {
    fault: 'windows put back where they were cut, in place of where the original puts them',
    rules: { departition: inPlace },
    caughtBy: /departition to 3x6x4x9 .* share-sets 2/,
  },
  {
    fault: "a share-set's weights transposed",
    rules: { setLinear: transposedWeights },
    caughtBy: /setLinear on .* without bias/,
  },
  {
    fault: 'no scale and shift behind windows',
    rules: {
      windowLinear: (node, loading) => tfjsRules.windowLinear({ ...node, op: { ...node.op, affine: false } }, loading),
    },
    caughtBy: /windowLinear .*, without bias, affine/,
  },
  {
    fault: "a windowLinear's bias left out",
    rules: {
      windowLinear: (node, loading) => tfjsRules.windowLinear({ ...node, op: { ...node.op, bias: false } }, loading),
    },
    caughtBy: /windowLinear .*, with bias/,
  },
  {
    fault: "another share-set's row sums",
    rules: { windowLinear: shiftedRowSums },
    caughtBy: /windowLinear .* share-sets 2, without bias, affine/,
  },
];

it.each(faults)('catches $fault', async ({ rules, caughtBy }) => {
  const tf = await import('@tensorflow/tfjs-core');
  const { info } = await openEngine('cpu');
  const engine = await tfjsEngine({ tf, backend: 'cpu', info, rules: { ...tfjsRules, ...rules } });
  const comparisons = [];
  for (const suspect of cases.filter(({ name }) => caughtBy.test(name))) {
    comparisons.push(await checkCase(engine, suspect));
  }
  const failed = comparisons.filter(({ verdict, compared }) => verdict === 'fail' && compared > 0);
  expect(failed.length, `of ${comparisons.length} cases`).toBeGreaterThan(0);
});

/** Takes channel `order[c]` as channel c: a 1x1 convolution by a permutation matrix, exact on every engine. */
function shuffle(order: readonly number[]): Tensor<Float32Array> {
  const channels = order.length;
  const data = new Float32Array(channels * channels);
  for (const [to, from] of order.entries()) data[to * channels + from] = 1;
  return { shape: [channels, channels, 1, 1], data };
}

/**
 * The same network by an engine that takes the share-set as the slow axis of the channels, c = s * C/S + r: channels are
 * shuffled before they are dealt, and back after.
 */
function setsAsSlowAxis(network: Network, given: Weights): { network: Network; weights: Weights } {
  const builder = new NetworkBuilder(network.name);
  const weights = new Map(given);
  const names = new Map<string, string>();
  const shuffled = (name: string, from: string, order: readonly number[]): string => {
    weights.set(`${name}.weight`, shuffle(order));
    const pixel = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
    return builder.add(name, { kind: 'conv2d', outChannels: order.length, ...pixel, bias: false }, [from]);
  };
  for (const node of network.nodes) {
    if (node.op.kind === 'input') {
      names.set(node.name, builder.input(node.name, node.shape));
      continue;
    }
    let inputs = node.inputs.map((input) => names.get(input)!);
    const first = builder.shape(inputs[0]!);
    const { kind } = node.op;
    const deals = kind === 'partition' || kind === 'windowLinear';
    const collects = kind === 'departition' || kind === 'windowLinear';
    const channels = deals ? first[1]! : node.shape[1]!;
    const sets = kind === 'partition' || kind === 'windowLinear' ? node.op.sets : first[1]!;
    const each = channels / sets;
    if (deals) {
      const order = Array.from({ length: channels }, (_, c) => (c % sets) * each + Math.floor(c / sets));
      inputs = [shuffled(`${node.name}.deal`, inputs[0]!, order)];
    }
    let output = builder.add(node.name, node.op, inputs);
    if (collects) {
      const order = Array.from({ length: channels }, (_, c) => (c % each) * sets + Math.floor(c / each));
      output = shuffled(`${node.name}.collect`, output, order);
    }
    names.set(node.name, output);
  }
  return { network: builder.build(names.get(network.output)!), weights };
}

/** With one channel or one share-set the two orders are the same. */
function hasTwoOrders({ name, network }: ConformanceCase): boolean {
  const sets = Number(/^(?:partition|departition|windowLinear) .*, share-sets (\d+)/.exec(name)?.[1]);
  const maps = network.nodes.at(name.startsWith('departition') ? -1 : 0)!;
  return sets > 1 && sets < maps.shape[1]!;
}

const { engines } = await openAvailable(undefined);

describe.each(engines.map((engine) => [engine.info.name, engine] as const))('%s', (_name, engine) => {
  const slow: Engine = {
    ...engine,
    load: async (network, weights) => {
      const faulty = setsAsSlowAxis(network, weights);
      return engine.load(faulty.network, faulty.weights);
    },
  };
  const suspects = cases.filter(hasTwoOrders);
  it.each(suspects.map((suspect) => [suspect.name, suspect] as const))(
    'catches the share-set as the slow axis: %s',
    async (_case, suspect) => {
      const { verdict, compared } = await checkCase(slow, suspect);
      expect({ verdict, nothing: compared === 0 }).toEqual({ verdict: 'fail', nothing: false });
    },
  );
});
