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
