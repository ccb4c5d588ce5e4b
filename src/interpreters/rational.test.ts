import { describe, expect, test } from 'vitest';
import { openFractionField } from '../fused/fractions.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Op, OpOf } from '../network/ops.ts';
import type { Shape } from '../network/tensor.ts';
import { evaluateRational, type RationalTensor, type RationalTensors } from './rational.ts';

const field = await openFractionField();

/** `1/2 -3 ...` as a tensor. */
function tensor(shape: Shape, written: string): RationalTensor {
  const data = written.split(' ').map((fraction) => {
    const [numerator, denominator = 1] = fraction.split('/').map(Number);
    return field.div(field.of(numerator!), field.of(denominator));
  });
  return { shape, data };
}

/** One node `op` on inputs `x0`, `x1`, ... */
function single(op: Op, inputs: readonly RationalTensor[]): Network {
  const builder = new NetworkBuilder('single');
  const names = inputs.map(({ shape }, i) => builder.input(`x${i}`, shape));
  return builder.build(builder.add('op', op, names));
}

function evaluate(
  op: Op,
  inputs: readonly RationalTensor[],
  weights: Readonly<Record<string, RationalTensor>> = {},
): { shape: Shape; written: string } {
  const keyed: RationalTensors = new Map(Object.entries(weights).map(([role, value]) => [`op.${role}`, value]));
  const given: RationalTensors = new Map(inputs.map((input, i) => [`x${i}`, input]));
  const { shape, data } = evaluateRational(single(op, inputs), keyed, given, field);
  return { shape, written: Array.from(data, (value) => value.toFraction()).join(' ') };
}

const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 1,
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: false,
};

describe('by definition, in fractions', () => {
  test('conv2d: a cross-correlation with zero padding and a bias', () => {
    const op: Op = { ...conv, kernel: [1, 3], padding: [0, 1], bias: true };
    const x = tensor([1, 1, 2, 3], '1 2 3 1/3 -1/2 5');
    const weights = { weight: tensor([1, 1, 1, 3], '1/2 1 -1/3'), bias: tensor([1], '1/7') };
    // 1 - 2/3 + 1/7; 1/2 + 2 - 1 + 1/7; 1 + 3 + 1/7; 1/3 + 1/6 + 1/7; 1/6 - 1/2 - 5/3 + 1/7; -1/4 + 5 + 1/7
    expect(evaluate(op, [x], weights)).toEqual({ shape: [1, 1, 2, 3], written: '10/21 23/14 29/7 9/14 -13/7 137/28' });
  });

  test('conv2d: strides and dilation, each along its own axis', () => {
    const op: Op = { ...conv, kernel: [2, 2], stride: [2, 1], dilation: [1, 2] };
    const x = tensor([1, 1, 4, 4], '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16');
    const weights = { weight: tensor([1, 1, 2, 2], '1 10 100 1000') };
    expect(evaluate(op, [x], weights)).toEqual({ shape: [1, 1, 2, 2], written: '7531 8642 16419 17530' });
  });

  test('conv2d: groups, and images of their own', () => {
    const op: Op = { ...conv, outChannels: 4, groups: 2 };
    const x = tensor([2, 4, 1, 1], '1 2 3 4 1/5 2/5 3/5 4/5');
    const weights = { weight: tensor([4, 2, 1, 1], '1 10 2 20 3 30 4 40') };
    expect(evaluate(op, [x], weights)).toEqual({ shape: [2, 4, 1, 1], written: '21 42 129 172 21/5 42/5 129/5 172/5' });
  });

  test('batchNorm: eps is the decimal that it is written as', () => {
    const x = tensor([1, 2, 1, 2], '1 2 3 4');
    const weights = {
      weight: tensor([2], '-3 1/2'),
      bias: tensor([2], '1/7 0'),
      running_mean: tensor([2], '1/3 -1'),
      // (2/3)^2 - 1/100000 and 4 - 1/100000
      running_var: tensor([2], '399991/900000 399999/100000'),
    };
    const { written } = evaluate({ kind: 'batchNorm', eps: 1e-5 }, [x], weights);
    expect(written).toBe('-20/7 -103/14 1 5/4');
  });

  test('linear', () => {
    const op: Op = { kind: 'linear', outFeatures: 2, bias: true };
    const weights = { weight: tensor([2, 3], '1/2 1/3 1/5 -1 0 1'), bias: tensor([2], '1/7 -1/7') };
    const x = tensor([2, 3], '1 1 1 2 3 5');
    expect(evaluate(op, [x], weights)).toEqual({ shape: [2, 2], written: '247/210 -1/7 22/7 20/7' });
  });

  test('add, of three', () => {
    const terms = ['1/2 1', '1/3 1', '1/6 -2'].map((written) => tensor([1, 2], written));
    expect(evaluate({ kind: 'add' }, terms).written).toBe('1 0');
  });

  test('mul: each map by its own gate', () => {
    const x = tensor([2, 1, 1, 2], '1 2 3 4');
    expect(evaluate({ kind: 'mul' }, [x, tensor([2, 1, 1, 1], '1/2 -1/3')]).written).toBe('1/2 1 -1 -4/3');
  });

  test('scale: the factor is the decimal that it is written as', () => {
    expect(evaluate({ kind: 'scale', factor: 0.1 }, [tensor([1, 2], '3 -1/2')]).written).toBe('3/10 -1/20');
  });

  test('relu', () => {
    expect(evaluate({ kind: 'relu' }, [tensor([1, 3], '-1/3 0 1/3')]).written).toBe('0 0 1/3');
  });

  test.each([
    [true, [2, 1, 1, 1]],
    [false, [2, 1]],
  ])('globalAvgPool, keepDims %s', (keepDims, shape) => {
    const x = tensor([2, 1, 1, 3], '1 1 2 1/2 1/3 1/6');
    expect(evaluate({ kind: 'globalAvgPool', keepDims }, [x])).toEqual({ shape, written: '4/3 1/3' });
  });

  /** Two images of two channels, 2x2 windows of 1x2. */
  const maps = tensor([2, 2, 2, 4], Array.from({ length: 32 }, (_, i) => i).join(' '));

  test('partition: windows by row and column, the share-set the fast axis of the channels', () => {
    const four = tensor([1, 4, 2, 2], Array.from({ length: 16 }, (_, i) => i).join(' '));
    expect(evaluate({ kind: 'partition', window: [2, 1], sets: 2 }, [four])).toEqual({
      shape: [4, 2, 2, 1],
      written: '0 2 4 6 8 10 12 14 1 3 5 7 9 11 13 15',
    });
    const { shape, written } = evaluate({ kind: 'partition', window: [1, 2], sets: 1 }, [maps]);
    expect(shape).toEqual([16, 1, 1, 2]);
    const starts = written.split(' ').filter((_, i) => i % 2 === 0);
    expect(starts.join(' ')).toBe('0 8 2 10 4 12 6 14 16 24 18 26 20 28 22 30');
  });

  test('departition reads its rows as (image, channel / S, window row, window column)', () => {
    const rows = tensor([16, 1, 1, 2], Array.from({ length: 32 }, (_, i) => i).join(' '));
    const { shape, written } = evaluate({ kind: 'departition', channels: 2, parts: [2, 2] }, [rows]);
    expect(shape).toEqual([2, 2, 2, 4]);
    expect(written).toBe(Array.from({ length: 32 }, (_, i) => i).join(' '));
    const two = tensor([2, 2, 2, 1], '0 1 2 3 4 5 6 7');
    expect(evaluate({ kind: 'departition', channels: 2, parts: [1, 2] }, [two])).toEqual({
      shape: [1, 2, 2, 2],
      written: '0 4 1 5 2 6 3 7',
    });
  });

  test('setLinear: a matrix for each share-set', () => {
    const x = tensor([2, 2, 1, 2], '1 2 3 4 1/2 1/3 1/5 1/7');
    const weights = {
      weight: tensor([4, 2, 1, 1], '1 10 2 20 3 30 4 40'),
      bias: tensor([4], '1/3 0 0 1'),
    };
    expect(evaluate({ kind: 'setLinear', bias: true }, [x], weights).written).toBe(
      '64/3 42 129 173 25/6 23/3 171/35 263/35',
    );
  });

  test('windowLinear is partition, setLinear and departition, with the constants between the last two', () => {
    const op = { kind: 'windowLinear', window: [1, 2], sets: 1, bias: true, affine: true } as const;
    const weights = {
      weight: tensor([2, 2, 1, 1], '1 10 2 20'),
      bias: tensor([2], '1/3 0'),
      scale: tensor([2], '1/2 -1'),
      shift: tensor([2], '1 1/5'),
      row_sum: tensor([2], '7 9'),
    };
    const builder = new NetworkBuilder('steps');
    const cut = builder.add('cut', { kind: 'partition', window: [1, 2], sets: 1 }, [builder.input('x0', maps.shape)]);
    const mixed = builder.add('op', { kind: 'setLinear', bias: false }, [cut]);
    const given = new Map([['x0', maps]]);
    const linear = evaluateRational(builder.build(mixed), new Map([['op.weight', weights.weight]]), given, field);
    // Rows of the partition are (image, window, channel): every other one is of channel 1.
    const scaled = Array.from(linear.data, (value, i) => {
      const [channel, pixel] = [Math.floor(i / 2) % 2, i % 2];
      const [scale, shift] = [weights.scale.data[channel]!, weights.shift.data[channel]!];
      return value.mul(scale).add(shift.mul(weights.row_sum.data[pixel]!)).add(weights.bias.data[pixel]!);
    });
    const rows = { shape: linear.shape, data: scaled };
    expect(evaluate(op, [maps], weights)).toEqual(
      evaluate({ kind: 'departition', channels: 2, parts: [2, 2] }, [rows]),
    );
  });
});

describe('activations are float64, rounded to 1/64', () => {
  test('gelu', () => {
    // 0.8413447... and -0.1586552... times 64 are 53.8 and -10.2
    expect(evaluate({ kind: 'gelu' }, [tensor([1, 4], '1 -1 0 100')]).written).toBe('27/32 -5/32 0 100');
  });

  test('sigmoid, which never shuts a gate', () => {
    expect(evaluate({ kind: 'sigmoid' }, [tensor([1, 4], '0 1 -100 100')]).written).toBe('1/2 47/64 1/64 1');
  });

  test('of fractions whose parts are beyond any float', () => {
    const [long] = tensor([1], '1/3').data as readonly [RationalTensor['data'][number]];
    const power = field.of(10 ** 300);
    const nearOne = field.div(field.add(field.mul(power, power), long), field.mul(power, power));
    expect(evaluate({ kind: 'gelu' }, [{ shape: [1, 1], data: [nearOne] }]).written).toBe('27/32');
  });
});

describe('refuses', () => {
  const x = tensor([1, 2], '1 2');
  const linear: Op = { kind: 'linear', outFeatures: 1, bias: false };

  test('a missing weight', () => {
    expect(() => evaluate(linear, [x])).toThrow('op.weight has no value');
  });

  test('a weight of another shape', () => {
    const weights = { weight: tensor([2, 1], '1 2') };
    expect(() => evaluate(linear, [x], weights)).toThrow('op.weight has 2 values of shape [2, 1]; [1, 2] is needed');
  });

  test('a weight that does not fill its shape', () => {
    const weights = { weight: { ...tensor([1, 1], '1'), shape: [1, 2] } };
    expect(() => evaluate(linear, [x], weights)).toThrow('op.weight has 1 values of shape [1, 2]; [1, 2] is needed');
  });

  test('a missing input, and one of another shape', () => {
    const network = single({ kind: 'relu' }, [x]);
    expect(() => evaluateRational(network, new Map(), new Map(), field)).toThrow('x0 has no value');
    const other = new Map([['x0', tensor([2, 1], '1 2')]]);
    expect(() => evaluateRational(network, new Map(), other, field)).toThrow('x0 has 2 values of shape [2, 1]');
  });

  test('a variance whose root is not rational', () => {
    const one = tensor([1], '1');
    const weights = { weight: one, bias: one, running_mean: one, running_var: tensor([1], '2') };
    expect(() => evaluate({ kind: 'batchNorm', eps: 0 }, [tensor([1, 1], '1')], weights)).toThrow('2 has no rational');
  });
});
