import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { openFractionField } from './fractions.ts';

const field = await openFractionField();

describe('a constant is the decimal that it is written as', () => {
  test.each([
    [0, '0'],
    [-0, '0'],
    [1, '1'],
    [-1500, '-1500'],
    [0.1, '1/10'],
    [1e-5, '1/100000'],
    [-1e-5, '-1/100000'],
    [2 ** -17, '1/131072'],
    [1 + 2 ** -16, '65537/65536'],
    [1 / 3, '3333333333333333/10000000000000000'],
    [12.5e20, `125${'0'.repeat(19)}`],
    [5e-324, `1/2${'0'.repeat(323)}`],
  ])('%d', (value, expected) => {
    expect(field.of(value).toFraction()).toBe(expected);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('which %d has not', (value) => {
    expect(() => field.of(value)).toThrow(InputError);
    expect(() => field.of(value)).toThrow(`${value} is no fraction; give a finite number`);
  });
});

describe('arithmetic', () => {
  const [a, b] = [field.div(field.of(2), field.of(3)), field.of(-0.25)];

  test.each([
    ['add', field.add(a, b), '5/12'],
    ['add to zero', field.add(field.of(0), a), '2/3'],
    ['sub', field.sub(a, b), '11/12'],
    ['mul', field.mul(a, b), '-1/6'],
    ['div', field.div(a, b), '-8/3'],
    ['a tenth and two tenths', field.add(field.of(0.1), field.of(0.2)), '3/10'],
  ])('%s', (_name, actual, expected) => {
    expect(actual.toFraction()).toBe(expected);
  });

  test('of numbers beyond any float', () => {
    const tiny = field.of(5e-324);
    const squared = field.mul(tiny, tiny);
    expect(field.sub(field.add(field.of(1), squared), field.of(1)).equals(squared)).toBe(true);
    expect(squared.n).toBe(1n);
  });

  test('a division by zero is refused', () => {
    expect(() => field.div(a, field.of(0))).toThrow('Division by Zero');
  });
});

describe('a root', () => {
  test.each([
    [0, 1, '0'],
    [4, 9, '2/3'],
    [1, 16, '1/4'],
    [15129, 100, '123/10'],
  ])('of %d/%d is rational', (numerator, denominator, expected) => {
    expect(field.sqrt(field.div(field.of(numerator), field.of(denominator))).toFraction()).toBe(expected);
  });

  test.each([
    [2, 1, '2'],
    [4, 3, '4/3'],
    [3, 4, '3/4'],
    [-4, 9, '-4/9'],
  ])('of %d/%d is not, and is refused', (numerator, denominator, fraction) => {
    const value = field.div(field.of(numerator), field.of(denominator));
    expect(() => field.sqrt(value)).toThrow(`${fraction} has no rational square root`);
  });
});

test('an array is of zeros', () => {
  const array = field.array(3);
  expect(Array.from(array, (value) => value.toFraction())).toEqual(['0', '0', '0']);
});
