import { describe, expect, test } from 'vitest';
import { compare, compareBits, unitInLastPlace, type Verdict } from './compare.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

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
