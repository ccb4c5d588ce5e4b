import { describe, expect, test } from 'vitest';
import { compare, compareBits, type Verdict } from './compare.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

const of = (...values: number[]): Float64Array => Float64Array.from(values);

describe('compare', () => {
  test.each<[string, number, number, number, Verdict]>([
    ['equal', 1, 1, 0, 'pass'],
    ['on the bound', 1.25, 1, 0.25, 'pass'],
    ['below, on the bound', 0.75, 1, 0.25, 'pass'],
    ['just beyond the bound', 1.25 + 2 ** -52, 1, 0.25, 'fail'],
    ['zeros of either sign', -0, 0, 0, 'pass'],
    ['off where nothing is allowed', Number.MIN_VALUE, 0, 0, 'fail'],
    ['NaN on both sides', nan, nan, 1, 'fail'],
    ['NaN for a number', nan, 1, 1, 'fail'],
    ['a number for NaN', 1, nan, 1, 'fail'],
    ['NaN for infinity', nan, inf, 1, 'fail'],
    ['NaN within an infinite bound', nan, 1, inf, 'fail'],
    ['infinity for a number', inf, 1, 1, 'fail'],
    ['infinity for a number, within an infinite bound', inf, 1, inf, 'fail'],
    ['a number for infinity', 1, inf, 1, 'fail'],
    ['infinities of either sign', -inf, inf, inf, 'fail'],
    ['the same infinity', inf, inf, 1, 'inconclusive'],
    ['an infinite bound', 1, 2, inf, 'inconclusive'],
    ['an infinite bound, even for equal numbers', 1, 1, inf, 'inconclusive'],
    ['a bound that is no number', 1, 1, nan, 'inconclusive'],
  ])('%s: %d for %d within %d is a %s', (_name, actual, expected, bound, verdict) => {
    const comparison = compare(of(0, actual), of(0, expected), of(0, bound));
    expect(comparison).toMatchObject({ verdict, compared: 2, failures: verdict === 'fail' ? 1 : 0 });
    expect(comparison.worstRatio > 1).toBe(verdict === 'fail');
    // And behind elements that are all worth showing.
    const [ones, halves] = [
      [1, 1, 1, 1, 1, 1],
      [1.5, 1.5, 1.5, 1.5, 1.5, 1.5],
    ];
    const later = compare(of(...halves, actual), of(...ones, expected), of(...ones, bound));
    expect(later).toMatchObject({ verdict, compared: 7, failures: verdict === 'fail' ? 1 : 0 });
    if (verdict === 'fail') expect(later.worst.map(({ index }) => index)).toEqual([6]);
  });

  test('nothing compared is no pass', () => {
    const nothing = { verdict: 'nothing compared', compared: 0, failures: 0, worstRatio: 0, worst: [] };
    expect(compare(of(), of(), of())).toEqual(nothing);
    expect(compareBits(of(), of())).toEqual(nothing);
  });

  test.each([
    [of(1), of(1, 2)],
    [of(1, 2), of(1)],
    [of(), of(1)],
  ])('other lengths fail: %j for %j', (actual, expected) => {
    const bound = expected.map(() => inf);
    const reason = `${actual.length} elements against ${expected.length} expected`;
    expect(compare(actual, expected, bound)).toMatchObject({ verdict: 'fail', compared: 0, reason });
    expect(compareBits(actual, expected)).toMatchObject({ verdict: 'fail', compared: 0, reason });
  });

  test('a bound for every element is needed', () => {
    expect(() => compare(of(1), of(1), of())).toThrow('0 bounds for 1 elements');
  });

  test('a failure outranks what is undecided, which is still told', () => {
    expect(compare(of(1, 2), of(1, 1), of(inf, 0.5))).toMatchObject({
      verdict: 'fail',
      failures: 1,
      reason: '1 values or bounds are not finite',
    });
  });

  test('the five worst are told, worst first', () => {
    // Ratios 0, 1/2, 1, ... 9/2, in an order that is neither up nor down.
    const order = [3, 9, 0, 7, 1, 8, 2, 5, 6, 4];
    const expected = Float64Array.from(order, (_, i) => i);
    const actual = Float64Array.from(order, (halves, i) => i + halves);
    const comparison = compare(
      actual,
      expected,
      Float64Array.from(order, () => 2),
    );
    expect(comparison).toMatchObject({ verdict: 'fail', compared: 10, failures: 7, worstRatio: 4.5 });
    expect(comparison.worst).toEqual(
      [9, 8, 7, 6, 5].map((halves) => {
        const index = order.indexOf(halves);
        return { index, expected: index, actual: index + halves, bound: 2, ratio: halves / 2 };
      }),
    );
  });

  test('a worse element is told wherever it stands', () => {
    const size = 40;
    for (let at = 0; at < size; at++) {
      const actual = Float64Array.from({ length: size }, (_, i) => (i === at ? 0.75 : (i % 7) / 16));
      const { verdict, worstRatio, worst } = compare(actual, new Float64Array(size), new Float64Array(size).fill(1));
      expect({ verdict, worstRatio, index: worst[0]?.index }).toEqual({ verdict: 'pass', worstRatio: 0.75, index: at });
    }
  });

  test('fewer than five elements are all told, with their ratios', () => {
    const { worst } = compare(of(1, 2.5, 3), of(1, 2, 2), of(0, 1, 4));
    expect(worst.map(({ index, ratio }) => [index, ratio])).toEqual([
      [1, 0.5],
      [2, 0.25],
      [0, 0],
    ]);
  });

  test('where some fail, those within their bound are not told', () => {
    const { worst } = compare(of(1, nan, 3), of(1, 2, 2), of(0, 1, 4));
    expect(worst.map(({ index, ratio }) => [index, ratio])).toEqual([[1, inf]]);
  });

  test('bits: the worst are those of the most units in the last place', () => {
    const actual = Float32Array.of(1 + 2 ** -23, 2, 5, 1 + 2 ** -20, -0);
    const { worst } = compareBits(actual, Float32Array.of(1, 2, 4, 1, 0));
    expect(worst.map(({ index, ratio }) => [index, ratio])).toEqual([
      [2, 2 ** 21],
      [3, 8],
      [0, 1],
      [4, 1],
    ]);
  });

  test('float32 and float64 are compared by value', () => {
    expect(compare(Float32Array.of(0.5), of(0.5), of(0)).verdict).toBe('pass');
    expect(compare(Float32Array.of(0.1), of(0.1), of(1e-9)).verdict).toBe('fail');
  });
});

describe('compareBits', () => {
  test.each<[string, number, number, Verdict]>([
    ['the same float', 0.1, 0.1, 'pass'],
    ['a unit in the last place', 1 + 2 ** -23, 1, 'fail'],
    ['zeros of either sign', -0, 0, 'fail'],
    ['NaN on both sides', nan, nan, 'fail'],
    ['the same infinity', inf, inf, 'pass'],
  ])('%s: %d for %d is a %s', (_name, actual, expected, verdict) => {
    const comparison = compareBits(Float32Array.of(0, actual), Float32Array.of(0, expected));
    expect(comparison).toMatchObject({ verdict, compared: 2, failures: verdict === 'fail' ? 1 : 0 });
  });

  test('names the element that differs, also where the difference is none in value', () => {
    expect(compareBits(of(1, 0, 2), of(1, -0, 2)).worst[0]).toEqual({
      index: 1,
      actual: 0,
      expected: -0,
      bound: 0,
      ratio: 1,
    });
  });
});
