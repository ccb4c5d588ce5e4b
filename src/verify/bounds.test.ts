import { describe, expect, test } from 'vitest';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { gelu } from '../interpreters/kernels/gelu.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Op, OpOf } from '../network/ops.ts';
import { FLOAT32 as COMMON, FLOAT64, gamma, type Precision } from '../network/precision.ts';
import type { Shape, Tensor, Weights } from '../network/tensor.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { errorBound, runtimeBound } from './bounds.ts';
import { compare } from './compare.ts';

const FLOAT32: Precision = { ...COMMON, underflow: 2 ** -149, erf: 0 };

const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  bias: true,
};

function chain(shape: Shape, ...ops: readonly Op[]): Network {
  const builder = new NetworkBuilder('chain');
  return builder.build(ops.reduce((x, op, i) => builder.add(`${i}`, op, [x]), builder.input('input', shape)));
}

const inputsOf = (network: Network, input: Tensor) => new Map([[network.inputs[0] ?? '', input]]);

async function boundOf(network: Network, precision = FLOAT32) {
  const weights = randomWeights(network, 1);
  const input = randomInput(network.nodes[0]?.shape ?? [], 2);
  return runtimeBound(network, weights, inputsOf(network, input), precision);
}

describe('K counts the rounded operations on the longest path, and one for the bound itself', () => {
  const map = [1, 3, 5, 4];
  const norm = { kind: 'batchNorm', eps: 1e-5 } as const;
  const windows = [
    { kind: 'partition', window: [2, 3], sets: 3 },
    { kind: 'departition', channels: 6, parts: [2, 2] },
  ] as const;
  test.each<[string, Network, number]>([
    ['a convolution: its taps and the bias', chain(map, conv), 27 + 1],
    ['a grouped one: those of its group', chain([1, 4, 5, 4], { ...conv, groups: 2 }), 18 + 1],
    ['a batch norm', chain(map, norm), 8],
    ['a chain: the sum', chain(map, conv, norm), 28 + 8],
    ['a linear: its features and the bias', chain([2, 7], { kind: 'linear', outFeatures: 3, bias: true }), 7 + 1],
    ['a constant factor', chain(map, { kind: 'scale', factor: 0.3 }), 1],
    ['relu: nothing', chain(map, { kind: 'relu' }), 0],
    ['gelu', chain(map, { kind: 'gelu' }), 6],
    ['sigmoid', chain(map, { kind: 'sigmoid' }), 8],
    [
      'a mean: every position, the division in place of the first sum',
      chain(map, { kind: 'globalAvgPool', keepDims: true }),
      20,
    ],
    ['windows: nothing', chain([1, 6, 4, 6], ...windows), 0],
    ['a layer over windows: its pixels and the bias', chain([4, 3, 2, 5], { kind: 'setLinear', bias: true }), 10 + 1],
    [
      'the same on maps: its pixels; times scale, shift * row sum, their sum, the bias',
      chain([1, 6, 4, 6], { kind: 'windowLinear', window: [2, 3], sets: 3, bias: true, affine: true }),
      6 + 4,
    ],
  ])('%s', async (_name, network, operations) => {
    expect((await boundOf(network)).operations).toBe(operations + 1);
  });

  test('a sum: the deepest term and one for each plus; a gate: both factors', async () => {
    const builder = new NetworkBuilder('branches');
    const x = builder.input('input', map);
    const convolved = builder.add('c', { ...conv, outChannels: 3 }, [x]);
    const normed = builder.add('bn', norm, [x]);
    const sum = builder.add('sum', { kind: 'add' }, [x, convolved, normed]);
    const gate = builder.add('pool', { kind: 'globalAvgPool', keepDims: true }, [normed]);
    const gated = builder.add('mul', { kind: 'mul' }, [sum, gate]);
    expect((await boundOf(builder.build(sum))).operations).toBe(28 + 2 + 1);
    expect((await boundOf(builder.build(gated))).operations).toBe(28 + 2 + (8 + 20) + 1 + 1);
  });
});

/** conv -> bn, its sum with the input, and half of it. */
const region = (() => {
  const builder = new NetworkBuilder('region');
  const x = builder.input('input', [2, 4, 5, 3]);
  const normed = builder.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [builder.add('c', conv, [x])]);
  const sum = builder.add('sum', { kind: 'add' }, [normed, x]);
  return builder.build(builder.add('half', { kind: 'scale', factor: 0.5 }, [sum]));
})();

/** Multiplies tensors, by name, by 2^k. */
function scaled(weights: Weights, keys: readonly string[], k: number): Weights {
  return new Map(
    [...weights].map(([key, { shape, data }]) => [
      key,
      { shape, data: Float64Array.from(data, (value) => (keys.includes(key) ? value * 2 ** k : value)) },
    ]),
  );
}

describe('the bound', () => {
  test.each([-60, -13, 1, 40])('multiplied by 2^%d together with the data, changes no verdict', async (k) => {
    const weights = randomWeights(region, 3);
    const input = randomInput([2, 4, 5, 3], 4);
    const larger = { shape: input.shape, data: input.data.map((value) => value * 2 ** k) };
    const shifts = scaled(weights, ['c.bias', 'bn.running_mean', 'bn.bias'], k);
    const before = await runtimeBound(region, weights, inputsOf(region, input), FLOAT32);
    const after = await runtimeBound(region, shifts, inputsOf(region, larger), FLOAT32);
    expect(after).toEqual({ ...before, bound: before.bound.map((value) => value * 2 ** k) });

    const output = (await evaluateFloat64(region, shifts, inputsOf(region, larger))).get(region.output)!.data;
    const off = (ratio: number) => output.map((value, i) => value + after.bound[i]! * ratio);
    expect(compare(off(0.99), output, after.bound).verdict).toBe('pass');
    expect(compare(off(1.01), output, after.bound).verdict).toBe('fail');
  });

  test.each([-60, 17])('follows weights that are multiplied by 2^%d', async (k) => {
    const single = chain([1, 3, 4, 4], conv);
    const weights = randomWeights(single, 5);
    const inputs = inputsOf(single, randomInput([1, 3, 4, 4], 6));
    const { bound } = await runtimeBound(single, weights, inputs, FLOAT32);
    const after = await runtimeBound(single, scaled(weights, ['0.weight', '0.bias'], k), inputs, FLOAT32);
    expect(after.bound).toEqual(bound.map((value) => value * 2 ** k));
  });

  test('is gamma_K times the magnitude: by hand', async () => {
    // |2 * -3| + |0.5 * 4| + |-1| = 9, where the value itself is -5.
    const network = chain([1, 2], { kind: 'linear', outFeatures: 1, bias: true });
    const weights: Weights = new Map([
      ['0.weight', { shape: [1, 2], data: Float64Array.of(-3, 4) }],
      ['0.bias', { shape: [1], data: Float64Array.of(-1) }],
    ]);
    const inputs = inputsOf(network, { shape: [1, 2], data: Float64Array.of(2, 0.5) });
    const { bound, operations } = await runtimeBound(network, weights, inputs, FLOAT32);
    expect(operations).toBe(4);
    expect([...bound]).toEqual([9 * gamma(4, 2 ** -24)]);
  });

  test('of an affine layer over windows is gamma_K times the magnitude: by hand', async () => {
    // |4 * (2 * -3)| + |-0.5 * -7| + |-1| = 28.5, where the value itself is -21.5.
    const network = chain([1, 1, 1, 1], { kind: 'windowLinear', window: [1, 1], sets: 1, bias: true, affine: true });
    const values = { weight: -3, bias: -1, scale: 4, shift: -0.5, row_sum: -7 };
    const weights: Weights = new Map(
      Object.entries(values).map(([role, value]) => [`0.${role}`, { shape: [1], data: Float64Array.of(value) }]),
    );
    const inputs = inputsOf(network, { shape: [1, 1, 1, 1], data: Float64Array.of(2) });
    expect([...(await evaluateFloat64(network, weights, inputs)).get('0')!.data]).toEqual([-21.5]);
    const { bound, operations } = await runtimeBound(network, weights, inputs, FLOAT32);
    expect(operations).toBe(6);
    // Underflow is added to each weight and input: at most 2^-100 here, which is lost in 28.5.
    expect([...bound]).toEqual([28.5 * gamma(6, 2 ** -24)]);
  });

  test('allows for underflow where everything is zero', async () => {
    const network = chain([1, 3, 4, 4], conv);
    const weights = scaled(randomWeights(network, 7), ['0.weight', '0.bias'], Number.NEGATIVE_INFINITY);
    const zeros = { shape: [1, 3, 4, 4], data: new Float32Array(48) };
    const { bound } = await runtimeBound(network, weights, inputsOf(network, zeros), FLOAT32);
    expect(bound.every((value) => value >= FLOAT32.underflow && value < 2 ** -130)).toBe(true);
  });

  test('carries underflow on through later weights', async () => {
    const point: Op = { ...conv, outChannels: 1, kernel: [1, 1], padding: [0, 0], bias: false };
    const network = chain([1, 1, 1, 1], point, { kind: 'scale', factor: 2 ** 60 });
    const tiny = { shape: [1, 1, 1, 1], data: Float32Array.of(2 ** -75) };
    const weights: Weights = new Map([['0.weight', tiny]]);
    const expected = (await evaluateFloat64(network, weights, inputsOf(network, tiny))).get('1')!.data;
    expect([...expected]).toEqual([2 ** -90]);
    // 2^-150 is half the smallest float32, and rounds to zero.
    const actual = Float32Array.of(Math.fround(2 ** -75 * 2 ** -75) * 2 ** 60);
    expect([...actual]).toEqual([0]);
    const { bound } = await runtimeBound(network, weights, inputsOf(network, tiny), FLOAT32);
    expect(compare(actual, expected, bound).verdict).toBe('pass');
  });

  test('grows with the slope of GELU, at most 1.13, but not where its input is exact', async () => {
    const x = { shape: [1, 1], data: Float64Array.of(-1.5) };
    const alone = chain([1, 1], { kind: 'gelu' });
    const behind = chain([1, 1], { kind: 'scale', factor: -2 }, { kind: 'gelu' });
    const noWeights: Weights = new Map();
    expect((await runtimeBound(alone, noWeights, inputsOf(alone, x), FLOAT32)).bound).toEqual(
      Float64Array.of(gelu(1.5) * gamma(7, 2 ** -24)),
    );
    expect((await runtimeBound(behind, noWeights, inputsOf(behind, x), FLOAT32)).bound).toEqual(
      Float64Array.of((gelu(3) + 1.13 * 3) * gamma(8, 2 ** -24)),
    );
    // What the engine says of its erf counts for half of |x|.
    const erf = await runtimeBound(alone, noWeights, inputsOf(alone, x), { ...FLOAT32, erf: 2 ** -20 });
    expect(erf.bound).toEqual(Float64Array.of((gelu(1.5) + 0.75 * 2 ** 4) * gamma(7, 2 ** -24)));
  });

  test('counts extra operations', () => {
    const magnitude = { sum: { shape: [1], data: Float64Array.of(8) }, operations: 10 };
    expect(errorBound(magnitude, FLOAT64, 5)).toEqual({
      operations: 16,
      isBounded: true,
      bound: Float64Array.of(8 * gamma(16, 2 ** -53)),
    });
  });

  test.each([
    [[1, 2 ** 127, 3], true],
    [[1, FLOAT32.largest, 3], true],
    [[1, 2 ** 128, 3], false],
    [[1, Number.NaN, 3], false],
  ])('of magnitudes %j says whether every one is a finite number', (sums, isBounded) => {
    const magnitude = { sum: { shape: [3], data: Float64Array.from(sums) }, operations: 10 };
    expect(errorBound(magnitude, FLOAT32).isBounded).toBe(isBounded);
    expect(errorBound(magnitude, FLOAT32).bound[1]).toBe(isBounded ? sums[1]! * gamma(11, 2 ** -24) : Infinity);
  });

  test('is infinite where so many roundings leave no digit', () => {
    const magnitude = { sum: { shape: [1], data: Float64Array.of(8) }, operations: 2 ** 12 };
    const { bound, isBounded } = errorBound(magnitude, { ...FLOAT32, unitRoundoff: 2 ** -11 });
    expect(bound).toEqual(Float64Array.of(Number.POSITIVE_INFINITY));
    expect(isBounded).toBe(false);
  });
});

/** A generator for orders of summation. */
function random(seed: number): () => number {
  const values = randomInput([4096], seed, 'order').data;
  let next = 0;
  return () => (values[next++ % values.length]! / Math.sqrt(3) + 1) / 2;
}

function shuffled<T>(items: readonly T[], next: () => number): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

type Round = (value: number) => number;
type Sum = (terms: readonly number[], round: Round) => number;

const oneByOne: Sum = (terms, round) => terms.reduce((sum, term) => round(sum + term));
const byHalves: Sum = (terms, round) => {
  if (terms.length === 1) return terms[0]!;
  const half = Math.ceil(terms.length / 2);
  return round(byHalves(terms.slice(0, half), round) + byHalves(terms.slice(half), round));
};

/** The region with every operation rounded, the taps summed in an order of its own for each output. */
function rounded(weights: Weights, input: Tensor, round: Round, sum: Sum, next: () => number): Float64Array {
  const [batch, channels, height, width] = [2, 4, 5, 3];
  const w = (key: string, i: number) => weights.get(key)!.data[i]!;
  return Float64Array.from({ length: batch * channels * height * width }, (_, i) => {
    const [column, row] = [i % width, Math.floor(i / width) % height];
    const channel = Math.floor(i / (width * height)) % channels;
    const image = Math.floor(i / (width * height * channels));
    const terms = [w('c.bias', channel)];
    for (let tap = 0; tap < channels * 9; tap++) {
      const [fromRow, fromColumn] = [row + (Math.floor(tap / 3) % 3) - 1, column + (tap % 3) - 1];
      if (fromRow < 0 || fromRow >= height || fromColumn < 0 || fromColumn >= width) continue;
      const from = ((image * channels + Math.floor(tap / 9)) * height + fromRow) * width + fromColumn;
      terms.push(round(input.data[from]! * w('c.weight', channel * channels * 9 + tap)));
    }
    const convolved = sum(shuffled(terms, next), round);
    const sigma = round(Math.sqrt(round(w('bn.running_var', channel) + round(1e-5))));
    const factor = round(w('bn.weight', channel) / sigma);
    const normed = round(round(round(convolved - w('bn.running_mean', channel)) * factor) + w('bn.bias', channel));
    return round(round(normed + input.data[i]!) * 0.5);
  });
}

describe('an evaluation that rounds every operation', () => {
  const bits = (kept: number): Round => {
    return (value) => {
      if (value === 0) return 0;
      const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - kept + 1);
      return Math.round(value / unit) * unit;
    };
  };

  async function run(seed: number, sum: Sum, round: Round, precision: Precision) {
    const weights = randomWeights(region, seed);
    const input = randomInput([2, 4, 5, 3], seed);
    const inputs = inputsOf(region, input);
    const expected = (await evaluateFloat64(region, weights, inputs)).get(region.output)!.data;
    const { bound } = await runtimeBound(region, weights, inputs, precision);
    return compare(rounded(weights, input, round, sum, random(seed)), expected, bound);
  }

  const seeds = Array.from({ length: 30 }, (_, i) => i);

  test.each([
    ['one by one', oneByOne],
    ['by halves', byHalves],
  ] as const)('to float32, taps summed %s in any order, stays within the bound', async (_name, sum) => {
    const comparisons = await Promise.all(seeds.map((seed) => run(seed, sum, Math.fround, FLOAT32)));
    expect(comparisons.map(({ verdict, compared }) => ({ verdict, compared }))).toEqual(
      seeds.map(() => ({ verdict: 'pass', compared: 120 })),
    );
    // Rounding is felt: the bound is not compared with exact results.
    expect(Math.max(...comparisons.map(({ worstRatio }) => worstRatio))).toBeGreaterThan(0.01);
  });

  test('to float16 does not pass for float32, but for what it is', async () => {
    const half = await Promise.all(seeds.map((seed) => run(seed, oneByOne, bits(11), FLOAT32)));
    expect(new Set(half.map(({ verdict }) => verdict))).toEqual(new Set(['fail']));
    const stated = await Promise.all(
      seeds.map((seed) => run(seed, oneByOne, bits(11), { ...FLOAT32, unitRoundoff: 2 ** -11 })),
    );
    expect(new Set(stated.map(({ verdict }) => verdict))).toEqual(new Set(['pass']));
  });
});
