import { describe, expect, test } from 'vitest';
import { evaluateFloat64 } from '../../interpreters/float64.ts';
import { NetworkBuilder } from '../../network/builder.ts';
import type { Network, OpOf, Pair } from '../../network/ops.ts';
import type { Tensor, Weights } from '../../network/tensor.ts';
import { DYADIC_EPS, dyadicInput, dyadicWeights } from '../../weights/dyadic.ts';
import { fuse, fuseWeights, rules } from '../fuse.ts';

const SEED = 2;
const linear = { kind: 'linear', outFeatures: 4, bias: true } as const;
const norm = { kind: 'batchNorm', eps: DYADIC_EPS } as const;
const departition = { kind: 'departition', channels: 4, parts: [2, 1] } as const;
const depthwise: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 4,
  bias: true,
};

type Add = (builder: NetworkBuilder, x: string) => string;

function networkOf(shape: readonly number[], add: Add): Network {
  const builder = new NetworkBuilder('pattern');
  return builder.build(add(builder, builder.input('input', shape)));
}

/** The sum of two depthwise convolutions. */
const sumOf =
  (a: Partial<OpOf<'conv2d'>>, b: Partial<OpOf<'conv2d'>>): Add =>
  (builder, x) =>
    builder.add('m.add', { kind: 'add' }, [
      builder.add('m.a', { ...depthwise, ...a }, [x]),
      builder.add('m.b', { ...depthwise, ...b }, [x]),
    ]);

/** A batch norm, a pool, and a 1x1 convolution with padding. */
const padded =
  (padding: Pair): Add =>
  (builder, x) => {
    const pooled = builder.add('pool', { kind: 'globalAvgPool', keepDims: true }, [builder.add('bn', norm, [x])]);
    return builder.add('c', { ...depthwise, kernel: [1, 1], padding, groups: 1 }, [pooled]);
  };

describe('no rule applies to', () => {
  test.each<[string, readonly number[], Add]>([
    [
      'the scaled activation of a linear',
      [2, 4],
      (builder, x) => {
        const active = builder.add('act', { kind: 'relu' }, [builder.add('l', linear, [x])]);
        return builder.add('half', { kind: 'scale', factor: 0.5 }, [active]);
      },
    ],
    [
      'the mean of a linear and an activation',
      [2, 4],
      (builder, x) => {
        const sum = [builder.add('l', linear, [x]), builder.add('act', { kind: 'relu' }, [x])];
        return builder.add('half', { kind: 'scale', factor: 0.5 }, [builder.add('add', { kind: 'add' }, sum)]);
      },
    ],
    ['a pooled convolution whose rows are padded', [2, 4, 3, 3], padded([1, 0])],
    ['a pooled convolution whose columns are padded', [2, 4, 3, 3], padded([0, 1])],
    ['convolutions of stride 2 along one axis', [1, 4, 6, 5], sumOf({ stride: [1, 2] }, { stride: [1, 2] })],
    [
      'convolutions that are dilated along one axis',
      [1, 4, 6, 5],
      sumOf({ dilation: [2, 1], padding: [2, 1] }, { dilation: [2, 1], padding: [2, 1] }),
    ],
    ['convolutions that are padded along one axis', [1, 4, 6, 5], sumOf({ padding: [1, 0] }, { padding: [1, 0] })],
    ['convolutions whose kernel is even along one axis', [1, 4, 6, 5], sumOf({ kernel: [3, 2] }, { kernel: [3, 2] })],
    [
      'windows that no layer mixes',
      [1, 4, 6, 5],
      (builder, x) => {
        const windows = builder.add('partition', { kind: 'partition', window: [3, 5], sets: 2 }, [x]);
        return builder.add('departition', departition, [builder.add('act', { kind: 'relu' }, [windows])]);
      },
    ],
    [
      'a layer over windows that nothing has cut',
      [4, 2, 3, 5],
      (builder, x) =>
        builder.add('departition', departition, [builder.add('fc3', { kind: 'setLinear', bias: true }, [x])]),
    ],
  ])('%s', (_name, shape, add) => {
    const network = networkOf(shape, add);
    const { regions, network: deploy } = fuse(network, rules);
    expect(regions).toEqual([]);
    expect(deploy).toEqual(network);
  });
});

async function outputOf(network: Network, weights: Weights, input: Tensor): Promise<readonly number[]> {
  const values = await evaluateFloat64(network, weights, new Map([['input', input]]), { kernels: 'definition' });
  return [...values.get(network.output)!.data];
}

/** Of the merged convolution: a bias is there where any branch has one. */
const merged = (bias: boolean) => ({ ...depthwise, bias });

describe('the sum of convolutions', () => {
  test.each<[string, Add, OpOf<'conv2d'>]>([
    ['without a bias', sumOf({ bias: false }, { bias: false, kernel: [1, 1], padding: [0, 0] }), merged(false)],
    ['of which the first has a bias', sumOf({}, { bias: false, kernel: [1, 3], padding: [0, 1] }), merged(true)],
    ['of which the last has a bias', sumOf({ bias: false }, { kernel: [3, 1], padding: [1, 0] }), merged(true)],
  ])('%s is one convolution', async (_name, add, op) => {
    const shape = [2, 4, 6, 5];
    const network = networkOf(shape, add);
    const fusion = fuse(network, rules);
    expect(fusion.network.nodes.at(-1)).toMatchObject({ name: 'm', op });
    expect(fusion.network.nodes).toHaveLength(2);
    const weights = dyadicWeights(network, SEED);
    const input = dyadicInput(shape, SEED, 'input');
    const fused = fuseWeights(fusion, weights);
    expect([...fused.keys()]).toEqual(op.bias ? ['m.weight', 'm.bias'] : ['m.weight']);
    const expected = await outputOf(network, weights, input);
    expect(expected).toHaveLength(2 * 4 * 6 * 5);
    expect(await outputOf(fusion.network, fused, input)).toEqual(expected);
  });
});
