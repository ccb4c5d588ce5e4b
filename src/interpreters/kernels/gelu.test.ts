import { type BigNumber, bignumberDependencies, create, piDependencies } from 'mathjs';
import { describe, expect, test } from 'vitest';
import { gelu, geluArray } from './gelu.ts';

/** Decimal digits that are right in what the series gives, relative to Phi. */
const DIGITS = 40;

const math = create({ ...bignumberDependencies, ...piDependencies }, { number: 'BigNumber' });

/** Exactly this number: mathjs's own conversion takes its shortest decimal, which moves x^2 by up to x^2 units. */
function big(value: number): BigNumber {
  // One less than it takes: log2 may round up to a whole number.
  const exponent = Math.max(-1074, Math.floor(Math.log2(Math.abs(value) || 1)) - 53);
  // In two steps, as 2^1074 is no float64.
  const mantissa = value * 2 ** Math.min(-exponent, 1000) * 2 ** Math.max(0, -exponent - 1000);
  return math
    .bignumber(2)
    .pow(exponent)
    .times(math.bignumber(String(BigInt(mantissa))));
}

/**
 * x * Phi(x) = x * (1/2 + 1 / sqrt(2 pi) * sum over n of (-1)^n x^(2n+1) / (2^n n! (2n+1))), erf's Taylor series.
 * Its terms grow to e^(x^2/2) and, for negative x, cancel down to e^(-x^2/2): so it is summed with x^2 / ln 10 digits
 * more than the result is to have (627 at |x| = 38).
 */
function geluBySeries(x: number): BigNumber {
  const digits = Math.ceil((x * x) / Math.LN10) + DIGITS;
  math.config({ precision: digits });
  const smallest = math.bignumber(10).pow(-digits);
  const minusHalfSquare = big(x).times(big(x)).times(-0.5);
  let power = big(x); // (-1)^n x^(2n+1) / (2^n n!)
  let sum = power;
  for (let n = 1; n < x * x || power.abs().greaterThan(smallest); n++) {
    power = power.times(minusHalfSquare).dividedBy(n);
    sum = sum.plus(power.dividedBy(2 * n + 1));
  }
  const root = math.bignumber(math.pi).times(2).sqrt();
  return big(x).times(sum.dividedBy(root).plus(0.5));
}

/** (actual - expected) / expected, the difference taken in big numbers. */
function relativeError(actual: number, expected: BigNumber): number {
  return Math.abs(big(actual).minus(expected).dividedBy(expected).toNumber());
}

/** What the docstring of gelu.ts claims. */
const CLAIMED = 2 ** -50;

/** Phi(x) is a normal number down to here. */
const NORMAL_FROM = -37.5;

const steps = [
  ...Array.from({ length: 81 }, (_, i) => -10 + i / 4),
  ...Array.from({ length: 56 }, (_, i) => (i < 28 ? -1 : 1) * (10.5 + (i % 28))),
];
/** Fractional parts that have all 53 bits, closer where networks' activations are. */
const irregular = Array.from({ length: 50 }, (_, i) => Math.sinh((i - 24.7) / 10) * Math.SQRT2);
const pieceEnds = [1, 2, 3, 4, 5, 6, 7].map((piece) => 2 - 16 / piece); // where t * 8 is whole
/** As far from the nodes of the Taylor polynomials as can be, and where these end. */
const betweenNodes = Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? -1 : 1) * ((5 * i + 0.5) / 64));
const near = [5, 5 - 2 ** -50, 5 + 2 ** -50].flatMap((x) => [x, -x]);
const tiny = [1e-300, 1e-100, 1e-16, 2 ** -53, 1e-8, 1e-3];
const points = [...steps, ...irregular, ...pieceEnds, ...betweenNodes, ...near, ...tiny, ...tiny.map((x) => -x)].filter(
  (x) => x !== 0,
);

describe('gelu', () => {
  test(`is x * Phi(x) to 2^-50 at ${points.length} points`, () => {
    expect(points.length).toBeGreaterThanOrEqual(200);
    expect(points.filter((x) => x < NORMAL_FROM)).toEqual([]);
    const wrong = points
      .map((x) => ({ x, gelu: gelu(x), error: relativeError(gelu(x), geluBySeries(x)) }))
      .filter(({ error }) => !(error <= CLAIMED));
    expect(wrong).toEqual([]);
  });

  test('the series tells GELU from its tanh form', () => {
    const x = -1.5;
    const tanhForm = 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    expect(relativeError(tanhForm, geluBySeries(x))).toBeGreaterThan(1e-3);
  });

  test.each([-37.6, -37.9, -38])('at %d, where Phi(x) is subnormal, Phi is off by less than two units', (x) => {
    const error = big(gelu(x)).minus(geluBySeries(x)).abs();
    expect(error.lessThan(big(Math.abs(x)).times(math.bignumber(2).pow(-1073)))).toBe(true);
  });

  test.each([
    [0, 0],
    [40, 40],
    [-40, -0],
    [1e300, 1e300],
    [-1e300, -0],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, -0],
    [Number.NaN, Number.NaN],
    // x / 2, which is exact here
    [Number.MIN_VALUE * 2, Number.MIN_VALUE],
    [-(2 ** -1000), -(2 ** -1001)],
  ])('gelu(%d) is %d', (x, expected) => {
    expect(gelu(x)).toBe(expected);
  });

  test('of either zero is a zero', () => {
    expect([gelu(0), gelu(-0)].map(Math.abs)).toEqual([0, 0]);
  });

  test('of an array is that of each element, in a new array', () => {
    const x = Float64Array.of(-1, 0.5, Number.NaN, 3);
    expect(geluArray(x)).toEqual(Float64Array.from(x, gelu));
    expect(x).toEqual(Float64Array.of(-1, 0.5, Number.NaN, 3));
  });
});
