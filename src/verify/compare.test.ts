import { describe, expect, test } from 'vitest';
import { compare, compareBits, unitInLastPlace, type Verdict } from './compare.ts';

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
  test('of an array and itself, as where stored weights are our own, finds every NaN', () => {
    const same = Float32Array.of(1, Number.NaN, 2, Number.NaN);
    const comparison = compareBits(same, same);
    expect(comparison).toMatchObject({ verdict: 'fail', compared: 4, failures: 2 });
    expect(comparison.worst.map(({ index }) => index)).toEqual([1, 3]);
    const finite = Float32Array.of(1, 2);
    expect(compareBits(finite, finite).verdict).toBe('pass');
  });

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

/** Of five elements whose ratios are all a half, so that only worse ones are looked at from there on. */
const FIVE = 5;
const behindFive = (value: number, others: number) =>
  Float64Array.of(...Array.from({ length: FIVE }, () => others), value, others);

describe('an element behind five that are within their bound', () => {
  test.each<[string, number, number, number, Verdict]>([
    ['beyond a small bound', 1.25, 1, 2 ** -4, 'fail'],
    ['beyond a small bound, below', 0.75, 1, 2 ** -4, 'fail'],
    ['beyond a large bound', 65, 1, 32, 'fail'],
    ['of the other sign', -1, 1, 0.5, 'fail'],
    ['on its bound', 1.25, 1, 0.25, 'pass'],
    ['within its bound', 1.125, 1, 0.5, 'pass'],
    ['equal, where nothing is allowed', 3, 3, 0, 'pass'],
    ['off where nothing is allowed', 3, 4, 0, 'fail'],
    ['NaN', nan, 1, 1, 'fail'],
    ['NaN on both sides', nan, nan, 1, 'fail'],
    ['infinite', inf, 1, 1, 'fail'],
    ['infinite, within an infinite bound', inf, 1, inf, 'fail'],
    ['infinite on both sides', inf, inf, inf, 'inconclusive'],
    ['within an infinite bound', 1, 2, inf, 'inconclusive'],
    ['within a bound that is no number', 1, 1, nan, 'inconclusive'],
  ])('%s: %d for %d within %d is a %s', (_name, actual, expected, bound, verdict) => {
    const comparison = compare(behindFive(actual, 1.5), behindFive(expected, 1), behindFive(bound, 1));
    expect(comparison).toMatchObject({ verdict, compared: FIVE + 2, failures: verdict === 'fail' ? 1 : 0 });
    if (verdict === 'fail') expect(comparison.worst.map(({ index }) => index)).toEqual([FIVE]);
  });

  test('is told where it is worse than they are, though it is within its own', () => {
    const { worst, worstRatio } = compare(behindFive(4, 1.5), behindFive(1, 1), behindFive(4, 1));
    expect(worst.map(({ index, ratio }) => [index, ratio])).toEqual([
      [FIVE, 0.75],
      ...[0, 1, 2, 3].map((index) => [index, 0.5]),
    ]);
    expect(worstRatio).toBe(0.75);
  });

  test('is not told where it is just as near', () => {
    const { worst } = compare(behindFive(3, 1.5), behindFive(1, 1), behindFive(4, 1));
    expect(worst.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
  });
});

test('where many fail, the worst are told wherever they stand', () => {
  const length = 100;
  const halves = (i: number) => (i * 37) % length;
  const expected = new Float64Array(length);
  const comparison = compare(
    Float64Array.from(expected, (_, i) => halves(i)),
    expected,
    new Float64Array(length).fill(2),
  );
  expect(comparison).toMatchObject({ verdict: 'fail', compared: length, failures: 97, worstRatio: 49.5 });
  expect(comparison.worst.map(({ actual }) => actual)).toEqual([99, 98, 97, 96, 95]);
});

test('other lengths leave no element to tell', () => {
  const verdict = { verdict: 'fail', compared: 0, failures: 0, worstRatio: inf, worst: [] };
  expect(compare(Float64Array.of(1), Float64Array.of(1, 2), Float64Array.of(1, 1))).toMatchObject(verdict);
  expect(compareBits(Float64Array.of(1), Float64Array.of(1, 2))).toMatchObject(verdict);
});

describe('bits', () => {
  test.each([
    ['a float in the middle', 1.5, 1, 1],
    ['the last float', 2.5, 2, 1],
    ['a zero of the other sign', -0, 0, 1],
    ['NaN', nan, nan, 1],
  ])('%s that differs is found among many that do not', (_name, actual, expected, failures) => {
    const others = Array.from({ length: 9 }, (_, i) => i - 4);
    const comparison = compareBits(Float32Array.of(...others, actual), Float32Array.of(...others, expected));
    expect(comparison).toMatchObject({ verdict: 'fail', compared: 10, failures });
    expect(comparison.worst.map(({ index }) => index)).toEqual([9]);
  });
});

describe("a float32's unit in the last place", () => {
  test.each([
    [1, 2 ** -23],
    [1.99, 2 ** -23],
    [-2, 2 ** -22],
    [2 ** -126, 2 ** -149],
    [2 ** -149, 2 ** -149],
    [0, 2 ** -149],
    [3e38, 2 ** 104],
  ])('of %d is %d', (value, unit) => {
    expect(unitInLastPlace(value)).toBe(unit);
  });
});
