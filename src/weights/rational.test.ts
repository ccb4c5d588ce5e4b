import type { Fraction } from 'mathjs';
import { describe, expect, test } from 'vitest';
import { openFractionField } from '../fused/fractions.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import { elements } from '../network/tensor.ts';
import { type Fractions, rationalInput, rationalWeights } from './rational.ts';

const { of, add, sqrt } = await openFractionField();

function network(eps: number): Network {
  const builder = new NetworkBuilder('network');
  const x = builder.input('input', [1, 24, 2, 2]);
  const conv = {
    kind: 'conv2d',
    outChannels: 24,
    kernel: [3, 3],
    stride: [1, 1],
    padding: [1, 1],
    dilation: [1, 1],
    groups: 1,
    bias: true,
  } as const;
  return builder.build(builder.add('bn', { kind: 'batchNorm', eps }, [builder.add('conv', conv, [x])]));
}

const train = network(1e-5);
const weights = rationalWeights(train, 7, of);
const valuesOf = (key: string): readonly Fraction[] => weights.get(key)!.data;
const signs = (values: readonly Fraction[]) => new Set(values.map(({ s, n }) => (n === 0n ? 0n : s)));
const written = (tensors: Iterable<Fractions>) =>
  [...tensors].map(({ data }) => data.map((value) => value.toFraction()).join(' '));

describe('rational weights', () => {
  test('every key, in its shape', () => {
    const shapes = weightShapesByKey(train);
    expect([...weights].map(([key, { shape }]) => [key, shape])).toEqual([...shapes]);
    expect([...weights.values()].map(({ data }) => data.length)).toEqual([...shapes.values()].map(elements));
  });

  test.each(['conv.weight', 'conv.bias', 'bn.weight', 'bn.bias', 'bn.running_mean'])(
    '%s has both signs, and no zero',
    (key) => {
      expect(signs(valuesOf(key))).toEqual(new Set([-1n, 1n]));
    },
  );

  test.each([1e-5, 1e-3, 2 ** -17])('a running_var is positive, and its root with eps %d rational', (eps) => {
    const { data } = rationalWeights(network(eps), 7, of).get('bn.running_var')!;
    expect(signs(data)).toEqual(new Set([1n]));
    const roots = data.map((variance) => sqrt(add(variance, of(eps))).toFraction());
    // With an eps that were the nearest float64 they would not be.
    expect(new Set(roots).size).toBeGreaterThan(3);
  });

  test('denominators are short', () => {
    const longest = (key: string) => Math.max(...valuesOf(key).map(({ d }) => d.toString(2).length));
    expect(['conv.weight', 'conv.bias', 'bn.weight', 'bn.bias'].map(longest)).toEqual([9, 5, 4, 5]);
  });

  test('the seed decides', () => {
    const again = rationalWeights(train, 7, of);
    const other = rationalWeights(train, 8, of);
    expect(written(again.values())).toEqual(written(weights.values()));
    const same = written(other.values()).filter((values, i) => values === written(weights.values())[i]);
    expect(same).toEqual([]);
  });

  test('a seed that is none is refused', () => {
    expect(() => rationalWeights(train, -1, of)).toThrow(InputError);
  });
});

describe('a rational input', () => {
  const input = rationalInput([2, 3, 4, 5], 7, 'input', of);

  test('has both signs, no zero, and hardly a number twice', () => {
    expect(input.shape).toEqual([2, 3, 4, 5]);
    expect(signs(input.data)).toEqual(new Set([-1n, 1n]));
    expect(new Set(written([input])[0]!.split(' ')).size).toBeGreaterThan(110);
  });

  test('is another of another name', () => {
    expect(written([rationalInput([2, 3, 4, 5], 7, 'other', of)])).not.toEqual(written([input]));
  });
});
