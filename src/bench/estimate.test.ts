import { describe, expect, test } from 'vitest';
import { hodgesLehmannInterval, median, quadLogRatio, quantile, signedRankCritical } from './estimate.ts';

const hodgesLehmann = (d: readonly number[]): number => hodgesLehmannInterval(d).estimate;

describe('signedRankCritical', () => {
  // The published tables of exact critical values, two-sided 0.05; qsignrank(0.025, n) - 1 in R.
  const published: readonly (readonly [n: number, critical: number])[] = [
    [6, 0],
    [7, 2],
    [8, 3],
    [9, 5],
    [10, 8],
    [11, 10],
    [12, 13],
    [13, 17],
    [14, 21],
    [15, 25],
    [16, 29],
    [17, 34],
    [18, 40],
    [19, 46],
    [20, 52],
    [21, 58],
    [22, 65],
    [23, 73],
    [24, 81],
    [25, 89],
  ];
  test.each(published)('n = %i has the tabled critical value %i', (n, critical) => {
    expect(signedRankCritical(n, 0.95).critical).toBe(critical);
  });

  test('gives the exact level', () => {
    expect(signedRankCritical(6, 0.95).level).toBe(1 - 2 / 64);
    expect(signedRankCritical(9, 0.95).level).toBe(1 - 20 / 512); // P(T <= 5) = 10 / 2^9
  });

  test.each([
    [1, 0],
    [2, 0.5],
    [3, 0.75],
    [4, 0.875],
    [5, 0.9375],
  ])('n = %i cannot reach 95 %% and says %f', (n, level) => {
    expect(signedRankCritical(n, 0.95)).toEqual({ critical: 0, level });
  });
});

describe('hodgesLehmannInterval', () => {
  // Hamilton's depression scale, first and second visit: Hollander, Wolfe and Chicken, "Nonparametric Statistical
  // Methods", table 3.1; examples 3.3 and 3.4 give estimate -0.46 and the 96.1 % interval (-0.786, -0.010).
  const first = [1.83, 0.5, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.3];
  const second = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
  const d = second.map((value, patient) => value - first[patient]!);

  test("agrees with Hollander and Wolfe's depression example", () => {
    const { estimate, low, high, level } = hodgesLehmannInterval(d);
    const printed = [estimate.toFixed(2), low.toFixed(3), high.toFixed(3), level.toFixed(3)];
    expect(printed).toEqual(['-0.46', '-0.786', '-0.010', '0.961']);
    expect(hodgesLehmann(d)).toBe(estimate);
  });

  test('widens to all Walsh averages when n is too small, and says its true level', () => {
    expect(hodgesLehmannInterval([3, 1, 2])).toEqual({ estimate: 2, low: 1, high: 3, level: 0.75 });
    expect(hodgesLehmannInterval([7])).toEqual({ estimate: 7, low: 7, high: 7, level: 0 });
  });

  test('does not follow an outlier', () => {
    expect(hodgesLehmann([1, 2, 3, 4, 1000])).toBe(3);
  });

  test('refuses nothing to estimate from', () => {
    expect(() => hodgesLehmannInterval([])).toThrow(RangeError);
  });
});

describe('quadLogRatio', () => {
  test('is the log of A over B', () => {
    expect(quadLogRatio([4, 4], [1, 1])).toBe(Math.log(4));
    expect(quadLogRatio([2, 8], [4, 4])).toBe((Math.log(2) + Math.log(8)) / 2 - Math.log(4));
  });
});

describe('median and quantile', () => {
  test('of odd and even counts, in any order', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(() => median([])).toThrow(RangeError);
  });

  test("agree with numpy's default", () => {
    const values = [10, 20, 30, 40, 50];
    expect([0, 0.25, 0.5, 0.75, 1].map((p) => quantile(values, p))).toEqual([10, 20, 30, 40, 50]);
    expect(quantile([1, 2], 0.25)).toBe(1.25);
    expect(() => quantile([], 0.5)).toThrow(RangeError);
  });
});
