import { compare } from './compare.ts';

interface Canary {
  readonly name: string;
  readonly actual: readonly number[];
  readonly expected: readonly number[];
}

/** Comparisons that other tools have let pass; a check that passes one of them proves nothing. */
const CANARIES: readonly Canary[] = [
  { name: 'nothing compared', actual: [], expected: [] },
  { name: 'NaN against NaN', actual: [1, Number.NaN], expected: [1, Number.NaN] },
  { name: 'NaN against finite', actual: [1, Number.NaN], expected: [1, 2] },
  { name: 'finite against NaN', actual: [1, 2], expected: [1, Number.NaN] },
  { name: 'finite against infinity', actual: [1, 2], expected: [1, Number.POSITIVE_INFINITY] },
  { name: 'infinity against finite', actual: [1, Number.POSITIVE_INFINITY], expected: [1, 2] },
  { name: 'outputs of different length', actual: [1, 2], expected: [1, 2, 3] },
  { name: 'two channels swapped', actual: [2, 1, 3], expected: [1, 2, 3] },
];

export interface CanaryReport {
  readonly checked: number;
  /** Canaries that a comparison let pass: there must be none. */
  readonly survivors: readonly string[];
}

/** Puts every canary through the comparison that the verification uses. */
export function runCanaries(check: typeof compare = compare): CanaryReport {
  const survivors = CANARIES.filter(({ actual, expected }) => {
    const bound = new Float64Array(expected.length).fill(1e-6);
    return check(Float64Array.from(actual), Float64Array.from(expected), bound).verdict === 'pass';
  });
  return { checked: CANARIES.length, survivors: survivors.map(({ name }) => name) };
}
