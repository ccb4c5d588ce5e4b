import { describe, expect, test } from 'vitest';
import { studentCentral, studentQuantile } from './student.ts';

describe("Student's t", () => {
  // Two-sided 0.95 and 0.99: table of the t distribution in any textbook (scipy.stats.t.ppf gives the same).
  test.each([
    [1, 12.7062, 63.6567],
    [2, 4.3027, 9.9248],
    [3, 3.1824, 5.8409],
    [4, 2.7764, 4.6041],
    [7, 2.3646, 3.4995],
    [11, 2.201, 3.1058],
    [30, 2.0423, 2.75],
    [120, 1.9799, 2.6174],
  ])('with %i degrees of freedom has the tabled quantiles', (degrees, at95, at99) => {
    expect(studentQuantile(0.95, degrees).toFixed(4)).toBe(at95.toFixed(4));
    expect(studentQuantile(0.99, degrees).toFixed(4)).toBe(at99.toFixed(4));
  });

  test('has the quantiles of three looks at 5, 8 and 12 sessions', () => {
    expect([4, 7, 11].map((degrees) => studentQuantile(1 - 0.05 / 3, degrees).toFixed(2))).toEqual([
      '3.96',
      '3.13',
      '2.82',
    ]);
  });

  test('is nothing at 0 and all at infinity', () => {
    for (const degrees of [1, 2, 3, 4]) {
      expect(studentCentral(0, degrees)).toBe(0);
      expect(studentCentral(Number.POSITIVE_INFINITY, degrees)).toBe(1);
    }
    expect(studentQuantile(0, 5)).toBeLessThan(1e-300);
  });

  test.each([0, -1, 1.5, Number.NaN])('refuses %d degrees of freedom', (degrees) => {
    expect(() => studentCentral(1, degrees)).toThrow(RangeError);
  });
});
