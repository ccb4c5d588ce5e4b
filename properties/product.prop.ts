import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blockedMatMul, type MatMul, openMatMul, plainMatMul } from '../src/interpreters/product.ts';
import { FLOAT64, gamma } from '../src/network/precision.ts';
import { elements, type Shape, type Tensor } from '../src/network/tensor.ts';
import { propertyOptions, seed } from './check.ts';

const RUNS = 200;

const size = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 9 }) }, fc.integer({ min: 1, max: 40 }));
const few = fc.integer({ min: 1, max: 3 });

/** Two factors that fit, their elements by `element`. */
function factors(element: fc.Arbitrary<number>): fc.Arbitrary<readonly [Tensor<Float64Array>, Tensor<Float64Array>]> {
  const tensor = (shape: Shape): fc.Arbitrary<Tensor<Float64Array>> =>
    fc
      .array(element, { minLength: elements(shape), maxLength: elements(shape), size: 'max' })
      .map((values) => ({ shape, data: Float64Array.from(values) }));
  return fc
    .record({ n: few, g: few, m: size, k: size, p: size })
    .filter(({ n, g, m, k, p }) => n * g * m * k * p <= 4000)
    .chain(({ n, g, m, k, p }) => fc.tuple(tensor([g, m, k]), tensor([n, g, k, p])));
}

/** Whole numbers: every partial sum is below 2^53, so each order of summation gives the same. */
const whole = fc.integer({ min: -(2 ** 20), max: 2 ** 20 });

/** Of every scale from 2^-40 to 2^40, and zero: no product or sum underflows. */
const wide = fc
  .tuple(fc.integer({ min: -(2 ** 26), max: 2 ** 26 }), fc.integer({ min: -66, max: 14 }))
  .map(([mantissa, exponent]) => mantissa * 2 ** exponent);

const absolute = ({ shape, data }: Tensor<Float64Array>) => ({ shape, data: data.map(Math.abs) });

/** Indices at which two products differ by more than two sums of K products, each in its own order, can. */
async function beyondBound(matmul: MatMul, a: Tensor<Float64Array>, b: Tensor<Float64Array>): Promise<number[]> {
  const expected = await plainMatMul(a, b);
  const actual = await matmul(a, b);
  const magnitude = await plainMatMul(absolute(a), absolute(b));
  const terms = a.shape[2] ?? 0;
  const factor = gamma(2 * terms, FLOAT64.unitRoundoff); // >= gamma_K for each of the two (Higham, lemma 3.3)
  expect(actual.shape).toEqual(expected.shape);
  return [...expected.data.keys()].filter((index) => {
    const error = Math.abs(actual.data[index]! - expected.data[index]!);
    return !(error <= factor * magnitude.data[index]!);
  });
}

describe(`float64 matrix products, seed ${seed}`, () => {
  test('all three are equal on whole numbers', async () => {
    await fc.assert(
      fc.asyncProperty(factors(whole), async ([a, b]) => {
        const expected = await plainMatMul(a, b);
        expect(await blockedMatMul(a, b)).toEqual(expected);
        expect(await (await openMatMul()).matmul(a, b)).toEqual(expected);
      }),
      propertyOptions(RUNS),
    );
  });

  test('blockedMatMul has the bits of plainMatMul on any numbers', async () => {
    await fc.assert(
      fc.asyncProperty(factors(wide), async ([a, b]) => {
        expect(await blockedMatMul(a, b)).toEqual(await plainMatMul(a, b));
      }),
      propertyOptions(RUNS),
    );
  });

  test('openMatMul is within gamma_2K |A| |B| of plainMatMul', async () => {
    await fc.assert(
      fc.asyncProperty(factors(wide), async ([a, b]) => {
        expect(await beyondBound((await openMatMul()).matmul, a, b)).toEqual([]);
      }),
      propertyOptions(RUNS),
    );
  });
});
