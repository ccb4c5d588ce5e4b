import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Op, Role } from '../network/ops.ts';
import type { Shape, Tensor, Weights } from '../network/tensor.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { evaluateFloat64 } from './float64.ts';

type Given = readonly [shape: Shape, values: readonly number[]];

const tensor = ([shape, values]: Given): Tensor<Float64Array> => ({ shape, data: Float64Array.from(values) });

const conv = { kind: 'conv2d', outChannels: 2, kernel: [1, 2], stride: [1, 1], dilation: [1, 1], groups: 1 } as const;

/** One op on given inputs and weights. */
async function resultOf(
  op: Op,
  inputs: readonly Given[],
  weights: Partial<Record<Role, Given>>,
  kernels: 'definition' | 'fast',
): Promise<number[]> {
  const builder = new NetworkBuilder('one');
  const names = inputs.map(([shape], i) => builder.input(`x${i}`, shape));
  const network = builder.build(builder.add('op', op, names));
  const byKey: Weights = new Map(Object.entries(weights).map(([role, given]) => [`op.${role}`, tensor(given)]));
  const values = new Map(names.map((name, i) => [name, tensor(inputs[i]!)]));
  return [...(await evaluateFloat64(network, byKey, values, { kernels })).get('op')!.data];
}

const row: Given = [
  [1, 1, 1, 3],
  [1, 10, 100],
];

describe.each(['definition', 'fast'] as const)('by hand, %s kernels', (kernels) => {
  test.each<[string, Op, readonly Given[], Partial<Record<Role, Given>>, readonly number[]]>([
    [
      'conv2d is a cross-correlation: the first tap meets the first column',
      { ...conv, padding: [0, 0], bias: true },
      [row],
      {
        weight: [
          [2, 1, 1, 2],
          [2, 3, 5, 7],
        ],
        bias: [[2], [0.5, -1]],
      },
      [32.5, 320.5, 74, 749],
    ],
    [
      'conv2d pads both sides with zeros',
      { ...conv, outChannels: 1, padding: [0, 1], bias: false },
      [row],
      {
        weight: [
          [1, 1, 1, 2],
          [2, 3],
        ],
      },
      [3, 32, 320, 200],
    ],
    [
      'conv2d with stride and dilation',
      { ...conv, outChannels: 1, padding: [0, 1], stride: [1, 2], dilation: [1, 2], bias: false },
      [row],
      {
        weight: [
          [1, 1, 1, 2],
          [2, 3],
        ],
      },
      [30, 20],
    ],
    [
      'conv2d in groups',
      { ...conv, kernel: [1, 1], padding: [0, 0], groups: 2, bias: false },
      [
        [
          [1, 4, 1, 1],
          [1, 10, 100, 1000],
        ],
      ],
      {
        weight: [
          [2, 2, 1, 1],
          [1, 2, 3, 4],
        ],
      },
      [21, 4300],
    ],
    [
      'batchNorm',
      { kind: 'batchNorm', eps: 0.75 },
      [
        [
          [1, 2, 1, 2],
          [1, 2, 3, 4],
        ],
      ],
      {
        weight: [[2], [3, -2]],
        bias: [[2], [10, 20]],
        running_mean: [[2], [1, 5]],
        running_var: [[2], [0.25, 3.25]],
      },
      [10, 13, 22, 21],
    ],
    [
      'linear: weight [out, in]',
      { kind: 'linear', outFeatures: 2, bias: true },
      [
        [
          [2, 2],
          [1, 10, 2, 20],
        ],
      ],
      {
        weight: [
          [2, 2],
          [1, 2, 3, 4],
        ],
        bias: [[2], [0.5, 0.25]],
      },
      [21.5, 43.25, 42.5, 86.25],
    ],
    [
      'add',
      { kind: 'add' },
      [
        row,
        row,
        [
          [1, 1, 1, 3],
          [0.5, 0, -1],
        ],
      ],
      {},
      [2.5, 20, 199],
    ],
    [
      'mul',
      { kind: 'mul' },
      [
        [
          [1, 2, 1, 2],
          [1, 2, 3, 4],
        ],
        [
          [1, 2, 1, 1],
          [10, -1],
        ],
      ],
      {},
      [10, 20, -3, -4],
    ],
    ['scale', { kind: 'scale', factor: -0.5 }, [row], {}, [-0.5, -5, -50]],
    [
      'relu',
      { kind: 'relu' },
      [
        [
          [1, 4],
          [-2, 0, 3, Number.NaN],
        ],
      ],
      {},
      [0, 0, 3, Number.NaN],
    ],
    [
      'sigmoid',
      { kind: 'sigmoid' },
      [
        [
          [1, 4],
          [0, 1000, -1000, Number.NaN],
        ],
      ],
      {},
      [0.5, 1, 0, Number.NaN],
    ],
    [
      'gelu',
      { kind: 'gelu' },
      [
        [
          [1, 3],
          [0, 50, 100],
        ],
      ],
      {},
      [0, 50, 100],
    ],
    [
      'globalAvgPool',
      { kind: 'globalAvgPool', keepDims: false },
      [
        [
          [1, 2, 2, 2],
          [1, 2, 3, 6, 0, 0, 0, -1],
        ],
      ],
      {},
      [3, -0.25],
    ],
    [
      'partition: windows in rows, then the channels in share-sets, of which the share-set is the fast axis',
      { kind: 'partition', window: [1, 2], sets: 2 },
      [
        [
          [1, 4, 1, 4],
          [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33],
        ],
      ],
      {},
      // Window 0, channels 0 to 3; window 1, channels 0 to 3.
      [0, 1, 10, 11, 20, 21, 30, 31, 2, 3, 12, 13, 22, 23, 32, 33],
    ],
    [
      'departition: channels in share-sets, then windows, as the original reads them',
      { kind: 'departition', channels: 4, parts: [1, 2] },
      [
        [
          [4, 2, 1, 2],
          [0, 1, 10, 11, 20, 21, 30, 31, 2, 3, 12, 13, 22, 23, 32, 33],
        ],
      ],
      {},
      // Channels 0 and 1 of window 0, then of window 1; the same for channels 2 and 3.
      [0, 1, 20, 21, 10, 11, 30, 31, 2, 3, 22, 23, 12, 13, 32, 33],
    ],
    [
      'setLinear: a weight [out, in] for each share-set',
      { kind: 'setLinear', bias: true },
      [
        [
          [2, 2, 1, 2],
          [1, 10, 2, 20, 3, 30, 4, 40],
        ],
      ],
      {
        weight: [
          [4, 2, 1, 1],
          [1, 2, 3, 4, 5, 6, 7, 8],
        ],
        bias: [[4], [0.25, 0.5, 0.75, -1]],
      },
      [21.25, 43.5, 130.75, 173, 63.25, 129.5, 260.75, 347],
    ],
    [
      'windowLinear: channel c by the weights of share-set c modulo S',
      { kind: 'windowLinear', window: [1, 1], sets: 2, bias: true, affine: false },
      [
        [
          [1, 4, 1, 1],
          [1, 10, 100, 1000],
        ],
      ],
      {
        weight: [
          [2, 1, 1, 1],
          [3, -7],
        ],
        bias: [[2], [0.5, -0.25]],
      },
      [3.5, -70.25, 300.5, -7000.25],
    ],
    [
      'windowLinear: scale and shift are those of the channel that is read, in windows that change places',
      { kind: 'windowLinear', window: [1, 1], sets: 1, bias: false, affine: true },
      [
        [
          [1, 2, 1, 2],
          [1, 2, 3, 4],
        ],
      ],
      {
        weight: [[1, 1, 1, 1], [2]],
        scale: [[2], [1, 10]],
        shift: [[2], [100, 1000]],
        row_sum: [[1], [5]],
      },
      // Read in the order (window, channel) 1, 3, 2, 4: 1 * 2 + 100 * 5, 10 * 6 + 1000 * 5, ...
      [502, 5060, 504, 5080],
    ],
  ])('%s', async (_name, op, inputs, weights, expected) => {
    expect(await resultOf(op, inputs, weights, kernels)).toEqual(expected);
  });
});

describe('evaluateFloat64', () => {
  const network: Network = buildRepVit(completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 3 }), {
    batch: 2,
    height: 9,
    width: 12,
  });
  const weights = randomWeights(network, 1);
  const inputs = new Map([['input', randomInput([2, 3, 9, 12], 2)]]);

  test('keeps the output alone, what it is asked to, or everything', async () => {
    const keys = async (keep?: ReadonlySet<string> | 'all') =>
      [...(await evaluateFloat64(network, weights, inputs, keep === undefined ? {} : { keep })).keys()].toSorted();
    expect(await keys()).toEqual([network.output]);
    expect(await keys(new Set(['stem.act1', 'input']))).toEqual([network.output, 'input', 'stem.act1'].toSorted());
    expect(await keys('all')).toEqual(network.nodes.map(({ name }) => name).toSorted());
  });

  test('each image of a batch is computed by itself', async () => {
    const { shape, data } = inputs.get('input')!;
    const one = buildRepVit(completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 3 }), {
      batch: 1,
      height: 9,
      width: 12,
    });
    const half = data.length / 2;
    const logits = async (net: Network, values: Float32Array, batch: number) => {
      const given = new Map([['input', { shape: [batch, ...shape.slice(1)], data: values }]]);
      return [...(await evaluateFloat64(net, weights, given, { kernels: 'definition' })).get(net.output)!.data];
    };
    expect(await logits(network, data, 2)).toEqual([
      ...(await logits(one, data.subarray(0, half), 1)),
      ...(await logits(one, data.subarray(half), 1)),
    ]);
  });

  test('says what is missing', async () => {
    await expect(evaluateFloat64(network, weights, new Map())).rejects.toThrow('no value for its input input');
    await expect(evaluateFloat64(network, new Map(), inputs)).rejects.toThrow('stem.conv1.c has no weight');
  });
});
