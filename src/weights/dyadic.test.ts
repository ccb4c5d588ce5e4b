import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { elements } from '../network/tensor.ts';
import { DYADIC_EPS, dyadicInput, dyadicWeights } from './dyadic.ts';

const FEATURES = 300;

const builder = new NetworkBuilder('network');
const normed = builder.add('bn', { kind: 'batchNorm', eps: DYADIC_EPS }, [builder.input('input', [1, FEATURES])]);
const network = builder.build(builder.add('l', { kind: 'linear', outFeatures: FEATURES, bias: true }, [normed]));
const weights = dyadicWeights(network, 7);
const valuesOf = (key: string) => [...weights.get(key)!.data];
const distinct = (values: Iterable<number>) => [...new Set(values)].toSorted((a, b) => a - b);

describe('dyadic weights', () => {
  test('every key, in its shape', () => {
    const shapes = weightShapesByKey(network);
    expect([...weights].map(([key, { shape }]) => [key, shape])).toEqual([...shapes]);
    expect([...weights.values()].map(({ data }) => data.length)).toEqual([...shapes.values()].map(elements));
  });

  test.each(['l.weight', 'l.bias', 'bn.bias', 'bn.running_mean'])('%s: small whole numbers, none zero', (key) => {
    expect(distinct(valuesOf(key))).toEqual([-2, -1, 1, 2]);
  });

  test('gammas are powers of two of both signs', () => {
    expect(distinct(valuesOf('bn.weight'))).toEqual([-2, -1, -0.5, 0.5, 1, 2]);
  });

  test('running_var + eps is a power of four, in float32 too', () => {
    const sums = valuesOf('bn.running_var').map((variance) => Math.fround(variance + DYADIC_EPS));
    expect(distinct(sums)).toEqual([0.25, 1, 4]);
    expect(valuesOf('bn.running_var').map((variance) => variance + DYADIC_EPS)).toEqual(sums);
  });

  test('rows of a long matrix are not the same', () => {
    const data = weights.get('l.weight')!.data;
    const rows = Array.from({ length: FEATURES }, (_, row) =>
      data.subarray(row * FEATURES, (row + 1) * FEATURES).join(),
    );
    expect(new Set(rows).size).toBe(FEATURES);
  });

  test('the seed decides', () => {
    const same = (seed: number) => {
      const other = dyadicWeights(network, seed);
      return [...weights].filter(([key, { data }]) => data.every((value, i) => value === other.get(key)!.data[i]));
    };
    expect(same(7)).toHaveLength(weights.size);
    expect(same(8)).toEqual([]);
  });

  test('a seed that is none is refused', () => {
    expect(() => dyadicWeights(network, 0.5)).toThrow(InputError);
  });
});

test('a dyadic input is of small whole numbers, others under another name', () => {
  const input = dyadicInput([2, 3, 4, 5], 7, 'input');
  expect(input.shape).toEqual([2, 3, 4, 5]);
  expect(input.data).toHaveLength(120);
  expect(distinct(input.data)).toEqual([-2, -1, 1, 2]);
  expect(dyadicInput([2, 3, 4, 5], 7, 'other').data).not.toEqual(input.data);
});
