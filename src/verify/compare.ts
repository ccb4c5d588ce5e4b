import type { FloatArray } from '../network/tensor.ts';

/** Only *pass* everywhere is a pass. */
export type Verdict = 'pass' | 'fail' | 'inconclusive' | 'nothing compared';

export interface Difference {
  /** Flat, row-major. */
  readonly index: number;
  readonly expected: number;
  readonly actual: number;
  readonly bound: number;
  /** |actual - expected| over the bound, or in units in the last place where none is allowed; infinite for no number. */
  readonly ratio: number;
}

export interface Comparison {
  readonly verdict: Verdict;
  /** Elements compared. */
  readonly compared: number;
  /** Elements beyond their bound. */
  readonly failures: number;
  /** Largest |actual - expected| / bound. */
  readonly worstRatio: number;
  /** The five worst elements, worst first. */
  readonly worst: readonly Difference[];
  /** Why, where the verdict is not explained by the differences. */
  readonly reason?: string;
}

/** Differences that a comparison keeps. */
export const WORST_SHOWN = 5;

/** Keeps the largest few, without sorting millions. */
function remember(worst: Difference[], difference: Difference): void {
  worst.push(difference);
  worst.sort((a, b) => b.ratio - a.ratio);
  worst.length = Math.min(worst.length, WORST_SHOWN);
}

type Judgement = 'within' | 'beyond' | 'undecided';

function judge(actual: number, expected: number, bound: number): Judgement {
  const error = Math.abs(actual - expected);
  if (error <= bound && bound < Number.POSITIVE_INFINITY) return 'within';
  // NaN is not even itself.
  if (!Number.isFinite(actual) || !Number.isFinite(expected)) return actual === expected ? 'undecided' : 'beyond';
  return Number.isFinite(bound) ? 'beyond' : 'undecided';
}

/** How elements are judged, and what their difference is measured in. */
interface Criterion {
  readonly bound: (index: number) => number;
  readonly judge: (actual: number, expected: number, bound: number) => Judgement;
  readonly unit: (expected: number, bound: number) => number;
  /** The first index from `from` on that may fail, or have a ratio above `least`: a tight loop over those that do not. */
  readonly next: (from: number, least: number) => number;
}

/** |actual - expected| in units; 0 for equal numbers, infinite where no number can be said. */
export function ratioOf(actual: number, expected: number, unit: number): number {
  if (actual === expected) return 0;
  const ratio = Math.abs(actual - expected) / unit;
  return Number.isNaN(ratio) ? Number.POSITIVE_INFINITY : ratio;
}

function compareBy(actual: FloatArray, expected: FloatArray, criterion: Criterion): Comparison {
  if (actual.length !== expected.length) {
    const reason = `${actual.length} elements against ${expected.length} expected`;
    return { verdict: 'fail', compared: 0, failures: 0, worstRatio: Number.POSITIVE_INFINITY, worst: [], reason };
  }
  const worst: Difference[] = [];
  let failures = 0;
  let undecided = 0;
  let least = Number.NEGATIVE_INFINITY;
  for (let index = criterion.next(0, least); index < expected.length; index = criterion.next(index + 1, least)) {
    const e = expected[index]!;
    const a = actual[index]!;
    const bound = criterion.bound(index);
    const judgement = criterion.judge(a, e, bound);
    // From the first failure on only failures are worth showing.
    if (judgement === 'beyond' && failures === 0) {
      worst.length = 0;
      least = Number.NEGATIVE_INFINITY;
    }
    if (judgement === 'beyond') failures++;
    else if (judgement === 'undecided') undecided++;
    if (failures > 0 && judgement !== 'beyond') continue;
    const distance = ratioOf(a, e, criterion.unit(e, bound));
    const ratio = judgement === 'beyond' ? Math.max(1, distance) : distance;
    if (worst.length < WORST_SHOWN || ratio > worst[WORST_SHOWN - 1]!.ratio) {
      remember(worst, { index, expected: e, actual: a, bound, ratio });
      least = Math.min(1, worst[WORST_SHOWN - 1]?.ratio ?? Number.NEGATIVE_INFINITY);
    }
  }
  return {
    verdict: verdictOf(expected.length, failures, undecided),
    compared: expected.length,
    failures,
    worstRatio: worst[0]?.ratio ?? 0,
    worst,
    ...(undecided > 0 ? { reason: `${undecided} values or bounds are not finite` } : {}),
  };
}

function verdictOf(compared: number, failures: number, undecided: number): Verdict {
  if (compared === 0) return 'nothing compared';
  if (failures > 0) return 'fail';
  return undecided > 0 ? 'inconclusive' : 'pass';
}

/**
 * Compares element by element: |actual - expected| <= bound. A NaN on either side fails, as does an infinity against
 * anything but itself; equal infinities, and bounds that are no finite number, decide nothing. Lengths must agree.
 */
export function compare(actual: FloatArray, expected: FloatArray, bound: Float64Array): Comparison {
  if (bound.length !== expected.length) throw new Error(`${bound.length} bounds for ${expected.length} elements`);
  const next = (from: number, least: number) => nextUnwell(actual, expected, bound, from, least);
  return compareBy(actual, expected, {
    bound: (index) => bound[index]!,
    judge,
    unit: (_expected, allowed) => allowed,
    next,
  });
}

/** Index of the first element from `from` on that is not within a finite bound, by a ratio of at most `least`. */
function nextUnwell(
  actual: FloatArray,
  expected: FloatArray,
  bound: Float64Array,
  from: number,
  least: number,
): number {
  let index = from;
  for (; index < expected.length; index++) {
    const allowed = bound[index]!;
    if (!(Math.abs(actual[index]! - expected[index]!) <= least * allowed && allowed < Number.POSITIVE_INFINITY)) break;
  }
  return index;
}

/** Distance from a float32 number to the next larger one: one unit in the last place. */
export function unitInLastPlace(value: number): number {
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(value))));
  return 2 ** (exponent - 23);
}

/**
 * Every element must be the very same float, bit for bit (a zero's sign included). A NaN fails even so. Ratios are in
 * float32's units in the last place.
 */
export function compareBits(actual: FloatArray, expected: FloatArray): Comparison {
  // Of an array and itself only a NaN is worth looking for.
  const next = (from: number) => (actual === expected ? nextNaN(actual, from) : nextDifferent(actual, expected, from));
  return compareBy(actual, expected, {
    bound: () => 0,
    // `next` has passed over what is the same.
    judge: () => 'beyond',
    unit: unitInLastPlace,
    next,
  });
}

/** Index of the first element from `from` on that is not the very same; zeros of different signs are not. */
function nextDifferent(actual: FloatArray, expected: FloatArray, from: number): number {
  let index = from;
  for (; index < expected.length; index++) {
    const a = actual[index]!;
    const e = expected[index]!;
    if (a !== e || (a === 0 && !Object.is(a, e))) break;
  }
  return index;
}

/** Index of the first NaN from `from` on. */
function nextNaN(values: FloatArray, from: number): number {
  let index = from;
  while (index < values.length && !Number.isNaN(values[index]!)) index++;
  return index;
}

/** A comparison that compared nothing, and why. */
export function undecided(verdict: Verdict, reason: string): Comparison {
  return { verdict, compared: 0, failures: 0, worstRatio: 0, worst: [], reason };
}
