import { describe, expect, test } from 'vitest';
import { type BasisFinding, checkBasis } from './basis.ts';
import { runCanaries } from './canaries.ts';
import { compare, compareBits } from './compare.ts';

const passed = { verdict: 'pass', compared: 1, failures: 0, worstRatio: 0, worst: [] } as const;

type Check = typeof compare;
type Case = [name: string, passes: (actual: Float64Array, expected: Float64Array) => boolean, survivors: string[]];

/** The comparison in use, but for what `passes` lets through. */
const lenient =
  (passes: Case[1]): Check =>
  (actual, expected, bound) =>
    passes(actual as Float64Array, expected as Float64Array) ? passed : compare(actual, expected, bound);

describe('canaries', () => {
  test('none survives the comparison in use', () => {
    const { checked, survivors } = runCanaries();
    expect(survivors).toEqual([]);
    expect(checked).toBe(8 + 8 + 5);
  });

  test('all survive checks that always pass, but for the one that is right to pass', () => {
    const { checked, survivors } = runCanaries({ bound: () => passed, bits: () => passed, basis: () => [] });
    expect(survivors).toHaveLength(checked - 1);
    expect(new Set(survivors).size).toBe(checked - 1);
  });

  test('a check that turns down everything is found out', () => {
    const failed: BasisFinding = {
      shape: [],
      operations: 1,
      comparison: { ...passed, verdict: 'fail', failures: 1 },
      rounding: { correctly: 0, inFloat32: 0, worstUlps: 0.5 },
    };
    expect(runCanaries({ basis: () => [failed] }).survivors).toEqual(['the right weights turned down, on a basis']);
  });

  test('a check of weights that is lenient with those of other tools is found out', () => {
    const basis: typeof checkBasis = (piece, weights, stored, demand) =>
      demand === 'fused in float32' ? [] : checkBasis(piece, weights, stored, demand);
    expect(runCanaries({ basis }).survivors).toEqual([
      'a weight that is NaN, on a basis',
      'a weight that is infinite, on a basis',
      'two channels swapped, on a basis',
      'weights of zero, on a basis',
    ]);
  });

  test('a check of bits that takes NaN for NaN is found out', () => {
    const bits: typeof compareBits = (actual, expected) =>
      actual.length > 0 && actual.length === expected.length && actual.every((a, i) => Object.is(a, expected[i]))
        ? passed
        : compareBits(actual, expected);
    expect(runCanaries({ bits }).survivors).toEqual(['NaN against NaN, bit for bit']);
  });

  test.each<[string, typeof compare, readonly string[]]>([
    [
      'a check that zips to the shorter',
      (actual, expected, bound) => {
        const length = Math.min(actual.length, expected.length);
        return compare(actual.slice(0, length), expected.slice(0, length), bound.slice(0, length));
      },
      ['outputs of different length'],
    ],
    [
      'a check that takes an empty comparison for a pass',
      (actual, expected, bound) => (expected.length === 0 ? passed : compare(actual, expected, bound)),
      ['nothing compared'],
    ],
    [
      'a check whose tolerance grows with what is expected',
      (actual, expected, bound) => {
        const beyond = actual.some((a, i) => Math.abs(a - expected[i]!) > bound[i]! + Math.abs(expected[i]!) * 1e-5);
        return beyond || actual.length !== expected.length || actual.length === 0
          ? compare(actual, expected, bound)
          : passed;
      },
      ['NaN against NaN', 'NaN against finite', 'finite against NaN', 'finite against infinity'],
    ],
    [
      'a check that sorts first',
      (actual, expected, bound) => compare(actual.slice().sort(), expected.slice().sort(), bound),
      ['two channels swapped'],
    ],
  ])('%s is found out', (_name, check, survivors) => {
    expect(runCanaries({ bound: check }).survivors).toEqual(survivors);
  });

  test.each<Case>([
    [
      'a tolerance that grows with what is there',
      (actual, expected) =>
        actual.length === expected.length &&
        actual.some((a, i) => a === Number.POSITIVE_INFINITY && Number.isFinite(expected[i])),
      ['infinity against finite'],
    ],
    ['two empty outputs', (actual, expected) => actual.length === 0 && expected.length === 0, ['nothing compared']],
    [
      'an output that is too short',
      (actual, expected) => actual.length < expected.length,
      ['outputs of different length'],
    ],
    [
      'NaN on both sides',
      (actual, expected) => Number.isNaN(actual[1]) && Number.isNaN(expected[1]),
      ['NaN against NaN'],
    ],
  ])('a check that passes %s is found out', (_name, passes, survivors) => {
    expect(runCanaries({ bound: lenient(passes) }).survivors).toEqual(survivors);
  });

  test('every canary has a name, by which a check that passes all is told', () => {
    const { survivors } = runCanaries({ bound: () => passed, bits: () => passed, basis: () => [] });
    const comparisons = [
      'nothing compared',
      'NaN against NaN',
      'NaN against finite',
      'finite against NaN',
      'finite against infinity',
      'infinity against finite',
      'outputs of different length',
      'two channels swapped',
    ];
    const weights = ['a weight that is NaN', 'a weight that is infinite', 'two channels swapped', 'weights of zero'];
    expect(survivors).toEqual([
      ...comparisons.flatMap((name) => [name, `${name}, bit for bit`]),
      ...weights.map((name) => `${name}, on a basis`),
    ]);
  });
});
