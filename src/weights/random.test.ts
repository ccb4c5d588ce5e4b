import { describe, expect, it, test } from 'vitest';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Node } from '../network/ops.ts';
import type { FloatArray, Tensor, Weights } from '../network/tensor.ts';
import { buildNetwork } from '../reference/config.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { variants } from '../reference/variants.ts';
import { randomInput, randomWeights } from './random.ts';

const COUNT = 2 ** 16;
/** The draws are fixed, so these tests cannot flake; a sound generator passes each with probability 1 - 6e-7. */
const SIGMAS = 5;

/** u in (-1, 1), of any name and seed: what randomInput scales by sqrt(3). */
function units(seed: number, name = 'input', count = COUNT): Float64Array {
  return Float64Array.from(randomInput([count], seed, name).data, (value) => value / Math.fround(Math.sqrt(3)));
}

function meanProduct(a: Float64Array, b: Float64Array, lag = 0): number {
  let sum = 0;
  for (let i = lag; i < a.length; i++) sum += a[i]! * b[i - lag]!;
  return sum / (a.length - lag);
}

describe('the uniform numbers', () => {
  const u = units(1);

  test('have mean 0 and variance 1/3', () => {
    expect(
      Math.abs(
        meanProduct(
          u,
          u.map(() => 1),
        ),
      ),
    ).toBeLessThan(SIGMAS * Math.sqrt(1 / 3 / COUNT));
    expect(Math.abs(meanProduct(u, u) - 1 / 3)).toBeLessThan(SIGMAS * Math.sqrt(4 / 45 / COUNT));
  });

  it.each([1, 2, 3, 4, 7, 8, 16, 64, 256, 4096])('are uncorrelated at lag %i', (lag) => {
    expect(Math.abs(meanProduct(u, u, lag))).toBeLessThan(SIGMAS * (1 / 3) * Math.sqrt(1 / (COUNT - lag)));
  });

  const neighbours: readonly (readonly [seed: number, name: string])[] = [
    [0, 'input'],
    [2, 'input'],
    [2 ** 31 + 1, 'input'],
    [1, 'inpus'],
    [1, 'input0'],
    [1, 'tupni'],
  ];
  it.each(neighbours)('of seed %i and name %s are unrelated to those of seed 1 and name input', (seed, name) => {
    const other = units(seed, name);
    expect(Math.abs(meanProduct(u, other))).toBeLessThan(SIGMAS * (1 / 3) * Math.sqrt(1 / COUNT));
    // Of 2^14 and 2^14 values among 2^24, 2^4 are expected to be shared: more would be a shifted or permuted copy.
    const seen = new Set(u.subarray(0, 2 ** 14));
    const shared = other.subarray(0, 2 ** 14).filter((value) => seen.has(value)).length;
    expect(shared).toBeLessThan(2 ** 4 + SIGMAS * 2 ** 2);
  });

  it.each([0, 4, 8, 12, 16, 20])('are even in the four bits from bit %i', (lowest) => {
    const bins = new Float64Array(16);
    for (const value of u) {
      // The rounding of value * sqrt(3) moves this by less than 0.3.
      const bits = Math.round(((value + 1) * 2 ** 24 - 1) / 2);
      bins[(bits >>> lowest) & 15]! += 1;
    }
    const expected = COUNT / 16;
    const chiSquare = bins.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // Mean 15 and variance 30 for 15 degrees of freedom.
    expect(chiSquare).toBeLessThan(15 + SIGMAS * Math.sqrt(30));
  });
});

describe('randomWeights', () => {
  const config = completeRepVitConfig({ embed_dim: [64, 128], depth: [2, 2], num_classes: 10 });
  const network = buildRepVit(config, { batch: 1, height: 32, width: 32 });
  const weights = randomWeights(network, 3);
  const dataOf = (key: string): FloatArray => weights.get(key)?.data ?? new Float32Array(0);

  test('has every key in its shape', () => {
    const shapes = [...weights].map(([key, { shape }]) => [key, shape]);
    expect(new Map(shapes as [string, readonly number[]][])).toEqual(weightShapesByKey(network));
  });

  test('depends on name, shape and seed alone', () => {
    const deeper = buildRepVit({ ...config, depth: [2, 3] }, { batch: 2, height: 48, width: 40 });
    const others = randomWeights(deeper, 3);
    for (const [key, tensor] of weights) expect(others.get(key), key).toEqual(tensor);
    expect(randomWeights(network, 4).get('stem.conv1.c.weight')).not.toEqual(weights.get('stem.conv1.c.weight'));
  });

  test('spreads running_var over 2^-20 to 2^17, and gamma over both signs of 0.6 to 1.1 standard deviations', () => {
    const norms = network.nodes.filter(({ op }) => op.kind === 'batchNorm').map(({ name }) => name);
    const variances = norms.flatMap((name) => [...dataOf(`${name}.running_var`)]);
    const exponents = new Set(variances.map((variance) => Math.floor(Math.log2(variance))));
    expect([...exponents].sort((a, b) => a - b)).toEqual(Array.from({ length: 37 }, (_, i) => i - 20));

    const scales = norms
      .flatMap((name) => [...dataOf(`${name}.weight`)])
      .map((gamma, i) => gamma / Math.sqrt(variances[i]! + 1e-5));
    // Four roundings to float32 stand between the interval's ends and gamma.
    const rounding = 1 + 4 * 2 ** -24;
    for (const scale of scales) {
      expect(Math.abs(scale)).toBeGreaterThanOrEqual(0.6 / rounding);
      expect(Math.abs(scale)).toBeLessThanOrEqual(1.1 * rounding);
    }
    const negative = scales.filter((scale) => scale < 0).length;
    expect(Math.abs(negative - scales.length / 2)).toBeLessThan(SIGMAS * Math.sqrt(scales.length / 4));
  });

  test('gives convs and linears the variance 0.95^2 / fan_in', () => {
    const fanIns = {
      'stages.1.blocks.0.channel_mixer.conv2.c.weight': 256,
      'stages.1.blocks.0.token_mixer.conv.c.weight': 9,
    };
    for (const [key, fanIn] of Object.entries(fanIns)) {
      const values = Float64Array.from(dataOf(key));
      const variance = meanProduct(values, values);
      // The square of a uniform number has a standard deviation of sqrt(4/5) of its mean.
      expect(Math.abs((variance * fanIn) / 0.95 ** 2 - 1)).toBeLessThan(SIGMAS * Math.sqrt(4 / 5 / values.length));
    }
  });

  it.each([-1, 0.5, 2 ** 32, Number.NaN])('refuses the seed %f', (seed) => {
    const error = new InputError(`seed ${seed}: it must be a whole number from 0 to 4294967295`);
    expect(() => randomWeights(network, seed)).toThrow(error);
    expect(() => randomInput([1], seed)).toThrow(error);
  });
});

describe('with these weights, logits feel stage 0', () => {
  const VISIBLE = 0.01;

  async function logits(network: Network, weights: Weights, input: Tensor): Promise<Float64Array> {
    const values = await evaluateFloat64(network, weights, new Map([['input', input]]));
    return values.get(network.output)?.data ?? new Float64Array(0);
  }

  function withoutIdentity(network: Network, name: string): Network {
    const nodes = network.nodes.map((node) => {
      return node.name === name ? ({ ...node, inputs: node.inputs.slice(0, 2) } as Node) : node;
    });
    return { ...network, nodes };
  }

  function negated(weights: Weights, key: string): Weights {
    const { shape, data } = weights.get(key) ?? { shape: [], data: new Float32Array(0) };
    return new Map([...weights, [key, { shape, data: Float32Array.from(data, (value) => -value) }]]);
  }

  const largestOf = (data: Float64Array) => data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);

  it.each(['repvit_m0_9', 'repvit_m2_3', 'repvit_m3'])('of %s', async (name) => {
    const variant = variants.find((candidate) => candidate.name === name);
    if (variant === undefined) throw new Error(`${name} is not a variant`);
    const network = buildNetwork(variant.config, { batch: 1, height: 64, width: 64 }, name);
    const weights = randomWeights(network, 1);
    const input = randomInput([1, 3, 64, 64], 1);
    const clean = await logits(network, weights, input);
    const largest = largestOf(clean);
    expect(largest).toBeGreaterThan(0.1);
    expect(largest).toBeLessThan(1e4);

    const faulty = {
      'identity dropped': await logits(withoutIdentity(network, 'stages.0.blocks.0.token_mixer.add'), weights, input),
      'stem negated': await logits(network, negated(weights, 'stem.conv1.c.weight'), input),
      'FFN negated': await logits(network, negated(weights, 'stages.0.blocks.0.channel_mixer.conv1.c.weight'), input),
    };
    for (const [fault, data] of Object.entries(faulty)) {
      const moved = largestOf(clean.map((value, i) => value - data[i]!));
      expect(moved / largest, fault).toBeGreaterThan(VISIBLE);
    }
  });
});
