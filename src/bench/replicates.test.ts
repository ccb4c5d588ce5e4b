import { describe, expect, test } from 'vitest';
import { FLOAT64, gamma } from '../network/precision.ts';
import { asideText, ends, overSessions, pOfNoDifference, together } from './replicates.ts';
import { studentQuantile } from './student.ts';

/** Of a ratio of two numbers that are computed in a few steps each. */
const ROUNDING = gamma(8, FLOAT64.unitRoundoff);
/** At the level of one look of three. */
const quantile = (degrees: number) => studentQuantile(1 - (1 - 0.95) / 3, degrees);

describe('overSessions', () => {
  test('is the mean with the t-interval of three looks', () => {
    const { mean, halfWidth, error } = overSessions([1, 2, 3, 4, 5]);
    expect([mean, error]).toEqual([3, Math.sqrt(2.5 / 5)]);
    expect((halfWidth! / error!).toFixed(4)).toBe('3.9608');
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
    // The table's t is right to half of its last digit; times the density's highest value, both sides and three looks.
    const unit = 0.5e-7 * 0.375 * 2 * 3;
    expect(Math.abs(pOfNoDifference(overSessions(spread))! - 0.15)).toBeLessThanOrEqual(unit);
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
    const each = overSessions([1, 2, 3, 4, 5]);
    const { mean, halfWidth } = together([each, each]);
    expect(mean).toBe(3);
    expect(Math.abs(halfWidth! / ((quantile(8) * each.error! * Math.SQRT2) / 2) - 1)).toBeLessThanOrEqual(ROUNDING);
  });

  test('of one sure and one unsure estimate has those of the unsure one', () => {
    const unsure = overSessions([0.1, 0.2, 0.3, 0.4, 0.5]);
    const sure = overSessions([1, 1, 1, 1, 1]);
    const { halfWidth } = together([unsure, sure]);
    expect(Math.abs(halfWidth! / ((quantile(4) * unsure.error!) / 2) - 1)).toBeLessThanOrEqual(ROUNDING);
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
