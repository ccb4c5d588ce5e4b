import { describe, expect, test } from 'vitest';
import { gamma } from './precision.ts';
import { elements, formatShape, sameShape, toFloat32, toFloat64 } from './tensor.ts';

test('shapes', () => {
  expect([elements([]), elements([2, 3, 4]), elements([5, 0])]).toEqual([1, 24, 0]);
  expect([sameShape([1, 2], [1, 2]), sameShape([1, 2], [2, 1]), sameShape([1], [1, 1])]).toEqual([true, false, false]);
  expect(formatShape([1, 3, 224, 224])).toBe('[1, 3, 224, 224]');
});

describe('conversion', () => {
  test('rounds to nearest even, once', () => {
    const { data } = toFloat32({ shape: [4], data: Float64Array.of(1 + 2 ** -24, 1 + 3 * 2 ** -24, 1e40, -0) });
    expect([...data]).toEqual([1, 1 + 2 ** -22, Number.POSITIVE_INFINITY, -0]);
  });

  test('widens exactly', () => {
    const data = Float32Array.of(0.1, 2 ** -149);
    expect([...toFloat64({ shape: [2], data }).data]).toEqual([...data]);
  });

  test('shares what is of the type already', () => {
    const single = Float32Array.of(1);
    const double = Float64Array.of(1);
    expect(toFloat32({ shape: [1], data: single }).data).toBe(single);
    expect(toFloat64({ shape: [1], data: double }).data).toBe(double);
  });
});

test('gamma_K = K u / (1 - K u), infinite from K u = 1 on', () => {
  expect([gamma(0, 2 ** -4), gamma(8, 2 ** -4), gamma(15, 2 ** -4), gamma(16, 2 ** -4), gamma(17, 2 ** -4)]).toEqual([
    0,
    1,
    15,
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
  ]);
});
