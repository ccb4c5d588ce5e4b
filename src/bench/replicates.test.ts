import { describe, expect, test } from 'vitest';
import { asideText, ends, overSessions, pOfNoDifference, together } from './replicates.ts';
import { studentQuantile } from './student.ts';

describe('overSessions', () => {
  test('is the mean with the t-interval of three looks', () => {
    const { mean, halfWidth, error } = overSessions([0.1, 0.2, 0.3, 0.4, 0.5]);
    expect(mean).toBeCloseTo(0.3, 15);
    expect(error).toBeCloseTo(Math.sqrt(0.025 / 5), 15);
    expect(halfWidth).toBeCloseTo(3.9608 * Math.sqrt(0.025 / 5), 4);
  });

  test('has a narrower interval where the number of sessions was fixed', () => {
    expect(overSessions([1, 2, 3, 4, 5], 1).halfWidth).toBe(studentQuantile(0.95, 4) * Math.sqrt(2.5 / 5));
  });

  test('has no interval from one session, and refuses none', () => {
    expect(overSessions([0.5])).toEqual({ mean: 0.5, halfWidth: undefined, error: undefined, sessions: 1 });
    expect(ends(overSessions([0.5]))).toEqual({ low: null, high: null });
    expect(() => overSessions([])).toThrow(RangeError);
  });

  test('gives its ends as ratios', () => {
    expect(ends({ mean: Math.log(2), halfWidth: Math.log(1.5) })).toEqual({
      low: Math.exp(Math.log(2) - Math.log(1.5)),
      high: Math.exp(Math.log(2) + Math.log(1.5)),
    });
  });
});

describe('pOfNoDifference', () => {
  test('is that of the t statistic, once for each look', () => {
    // t = 2.7764 with 4 degrees of freedom: two-sided 0.05.
    const spread = [1, 2, 3, 4, 5].map((value) => value - 3 + 2.7764451 * Math.sqrt(2.5 / 5));
    expect(pOfNoDifference(overSessions(spread))).toBeCloseTo(0.15, 6);
  });

  test('is never above 1, and 0 or 1 where sessions agree to the last bit', () => {
    expect(pOfNoDifference(overSessions([-1, 1]))).toBe(1);
    expect(pOfNoDifference(overSessions([0.5, 0.5]))).toBe(0);
    expect(pOfNoDifference(overSessions([0, 0]))).toBe(1);
    expect(pOfNoDifference(overSessions([1]))).toBe(undefined);
  });
});

describe('together', () => {
  test('of equal errors has all their degrees of freedom', () => {
    const each = overSessions([0.1, 0.2, 0.3, 0.4, 0.5]);
    const { mean, halfWidth } = together([each, each]);
    expect(mean).toBeCloseTo(0.3, 15);
    expect(halfWidth).toBeCloseTo((studentQuantile(1 - 0.05 / 3, 8) * each.error! * Math.SQRT2) / 2, 12);
  });

  test('of one sure and one unsure estimate has those of the unsure one', () => {
    const unsure = overSessions([0.1, 0.2, 0.3, 0.4, 0.5]);
    const sure = overSessions([1, 1, 1, 1, 1]);
    const { halfWidth } = together([unsure, sure]);
    expect(halfWidth).toBeCloseTo((studentQuantile(1 - 0.05 / 3, 4) * unsure.error!) / 2, 12);
    expect(together([sure, sure])).toEqual({ mean: 1, halfWidth: 0 });
  });

  test('has no interval where one of them has none', () => {
    expect(together([overSessions([1]), overSessions([1, 2])])).toEqual({ mean: 1.25, halfWidth: undefined });
    expect(() => together([])).toThrow(RangeError);
  });
});

test.each([
  [0.0123, '1.2 % to either side'],
  [0.1, 'a factor of 1.11 to either side'],
  [3.857, 'a factor of 47.3 to either side'],
  [100, 'a factor of over 1000 to either side'],
])('a half-width of %d reaches %s', (halfWidth, text) => {
  expect(asideText(halfWidth)).toBe(text);
});
