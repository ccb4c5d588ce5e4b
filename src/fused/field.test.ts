import { describe, expect, test } from 'vitest';
import { randomInput } from '../weights/random.ts';
import { arrayOperations, type Field, float64Field, magnitudeField, roundingsField } from './field.ts';

const { arrays: _, ...float64Elements } = float64Field;
const { arrays: __, ...roundingsElements } = roundingsField;

const LENGTH = 23;

/** Of both signs, with all of float32's bits. */
const reals = (name: string) => Float64Array.from(randomInput([LENGTH], 5, name).data);
/** Numbers of roundings. */
const counts = (name: string) => Float64Array.from(randomInput([LENGTH], 5, name).data, (u) => Math.floor(u * u * 7));

const fields: readonly [field: Field<number>, elements: Field<number>, values: (name: string) => Float64Array][] = [
  [float64Field, float64Elements, reals],
  [roundingsField, roundingsElements, counts],
];

/** start, end and, in the factors, from */
const ranges = [
  [0, LENGTH, 0],
  [3, 17, 0],
  [3, 17, 5],
  [0, 1, 22],
  [22, 23, 0],
  [8, 8, 4],
] as const;

describe.each(fields)('the array operations of $name are its own element by element', (field, elements, values) => {
  const own = arrayOperations(field);
  const plain = arrayOperations(elements);

  test('and are others than those made of the elements', () => {
    expect(own).toBe(field.arrays);
    expect(plain.scale).not.toBe(own.scale);
  });

  test.each(ranges)('from %i to %i, factors from %i', (start, end, from) => {
    const [x, factors, target] = [values('x'), values('factors'), values('target')];
    const written = (write: (to: Float64Array) => void): Float64Array => {
      const to = target.slice();
      write(to);
      // Nothing beyond the range is written.
      expect(to.subarray(0, start)).toEqual(target.subarray(0, start));
      expect(to.subarray(end)).toEqual(target.subarray(end));
      return to;
    };
    const factor = factors[2]!;
    const scaled = written((to) => own.scale(to, x, start, end, factor));
    expect(scaled).toEqual(written((to) => plain.scale(to, x, start, end, factor)));
    const multiplied = written((to) => own.multiply(to, x, start, end, factors, from));
    expect(multiplied).toEqual(written((to) => plain.multiply(to, x, start, end, factors, from)));
    expect(own.sum(factor, x, start, end)).toBe(plain.sum(factor, x, start, end));
    expect(own.dot(factor, x, start, end, factors, from)).toBe(plain.dot(factor, x, start, end, factors, from));
    if (end - start > 1) {
      expect(scaled).not.toEqual(target);
      expect(multiplied).not.toEqual(scaled);
      expect(own.sum(factor, x, start, end)).not.toBe(factor);
    }
  });

  test('in place', () => {
    const [x, factors] = [values('x'), values('factors')];
    const [a, b] = [x.slice(), x.slice()];
    own.multiply(a, a, 2, 20, factors, 1);
    plain.multiply(b, b, 2, 20, factors, 1);
    own.scale(a, a, 2, 20, 3);
    plain.scale(b, b, 2, 20, 3);
    expect(a).toEqual(b);
    expect(a).not.toEqual(x);
  });
});

test('a field without array operations gets them from its elements', () => {
  const { scale, multiply, sum, dot } = arrayOperations(magnitudeField);
  const to = [9, 9, 9, 9];
  scale(to, [1, 2, 3, 4], 1, 3, 10);
  expect(to).toEqual([9, 20, 30, 9]);
  multiply(to, [1, 2, 3, 4], 2, 4, [5, 6, 7], 1);
  expect(to).toEqual([9, 20, 18, 28]);
  expect(sum(100, [1, 2, 3, 4], 1, 4)).toBe(109);
  expect(dot(100, [1, 2, 3, 4], 1, 3, [5, 6, 7], 1)).toBe(133);
});
