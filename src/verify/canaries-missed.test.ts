import { expect, test } from 'vitest';
import { runCanaries } from './canaries.ts';
import { compare } from './compare.ts';

const passed = { verdict: 'pass', compared: 1, failures: 0, worstRatio: 0, worst: [] } as const;

type Check = typeof compare;
type Case = [name: string, passes: (actual: Float64Array, expected: Float64Array) => boolean, survivors: string[]];

/** The comparison in use, but for what `passes` lets through. */
const lenient =
  (passes: Case[1]): Check =>
  (actual, expected, bound) =>
    passes(actual as Float64Array, expected as Float64Array) ? passed : compare(actual, expected, bound);

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
