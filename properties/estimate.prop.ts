import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hodgesLehmannInterval, quadLogRatio, signedRankCritical } from '../src/bench/estimate.ts';
import { propertyOptions, seed } from './check.ts';

const hodgesLehmann = (d: readonly number[]): number => hodgesLehmannInterval(d).estimate;

const RUNS = 300;

/** Dyadic numbers: sums and means of a few of them are exact, so every law below holds by `===`. */
const dyadic = fc.integer({ min: -(2 ** 20), max: 2 ** 20 }).map((n) => n / 1024);
const sample = fc.array(dyadic, { minLength: 1, maxLength: 24 });

/** Mulberry32: the simulation's uniform numbers in [0, 1). */
function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe(`Hodges-Lehmann estimate and interval, seed ${seed}`, () => {
  test('move with the data', () => {
    fc.assert(
      fc.property(sample, dyadic, (d, shift) => {
        const at = hodgesLehmannInterval(d);
        const moved = hodgesLehmannInterval(d.map((value) => value + shift));
        expect(moved).toEqual({
          estimate: at.estimate + shift,
          low: at.low + shift,
          high: at.high + shift,
          level: at.level,
        });
      }),
      propertyOptions(RUNS),
    );
  });

  test('mirror when the arms swap', () => {
    fc.assert(
      fc.property(sample, (d) => {
        const at = hodgesLehmannInterval(d);
        const swapped = hodgesLehmannInterval(d.map((value) => 0 - value));
        expect(swapped).toEqual({ estimate: 0 - at.estimate, low: 0 - at.high, high: 0 - at.low, level: at.level });
      }),
      propertyOptions(RUNS),
    );
  });

  test('do not depend on the order of the quads', () => {
    const shuffled = sample.chain((d) =>
      fc.tuple(fc.constant(d), fc.shuffledSubarray(d, { minLength: d.length, maxLength: d.length })),
    );
    fc.assert(
      fc.property(shuffled, ([d, permuted]) => {
        expect(hodgesLehmannInterval(permuted)).toEqual(hodgesLehmannInterval(d));
      }),
      propertyOptions(RUNS),
    );
  });

  test('hold the estimate between the ends, within the data', () => {
    fc.assert(
      fc.property(sample, (d) => {
        const { estimate, low, high } = hodgesLehmannInterval(d);
        expect(Math.min(...d) <= low && low <= estimate && estimate <= high && high <= Math.max(...d)).toBe(true);
      }),
      propertyOptions(RUNS),
    );
  });

  test('cover a known ratio as often as their level says', () => {
    const draws = 4000;
    const truth = Math.log(1.3);
    const next = uniform(seed);
    for (const n of [3, 8, 24]) {
      let covered = 0;
      for (let draw = 0; draw < draws; draw++) {
        const d = Array.from({ length: n }, () => {
          const u = 2 * next() - 1;
          return truth + (0.01 * u) / (1.001 - u * u); // symmetric, with heavy tails
        });
        const { low, high } = hodgesLehmannInterval(d);
        if (low <= truth && truth <= high) covered++;
      }
      const { level } = signedRankCritical(n, 0.95);
      // Five standard deviations of a binomial count: one false alarm in 1.7 million seeds.
      const slack = 5 * Math.sqrt((level * (1 - level)) / draws);
      expect(Math.abs(covered / draws - level), `n = ${n}: ${covered} of ${draws} covered`).toBeLessThan(slack);
    }
  });
});

describe(`quadLogRatio, seed ${seed}`, () => {
  const time = fc.double({ min: 1e-3, max: 1e5, noNaN: true });

  test('changes sign when the arms swap', () => {
    fc.assert(
      fc.property(time, time, time, time, (a1, a2, b1, b2) => {
        expect(quadLogRatio([b1, b2], [a1, a2])).toBe(0 - quadLogRatio([a1, a2], [b1, b2]));
      }),
      propertyOptions(RUNS),
    );
  });

  test('cancels a linear drift, in either order', () => {
    const exponent = fc.integer({ min: -20, max: 20 });
    fc.assert(
      fc.property(exponent, exponent, fc.integer({ min: -5, max: 5 }), fc.boolean(), (a, b, drift, abba) => {
        // Powers of two: every log is a whole multiple of ln 2, but for its own rounding.
        const at = (level: number, position: number) => 2 ** (level + drift * position);
        const [outer, inner] = abba ? [a, b] : [b, a];
        const outside = [at(outer, 0), at(outer, 3)] as const;
        const inside = [at(inner, 1), at(inner, 2)] as const;
        const d = abba ? quadLogRatio(outside, inside) : quadLogRatio(inside, outside);
        // Four logs of at most 35 ln 2 < 32, each within one ulp, and three roundings of sums below 64.
        const roundings = 4 * 2 ** -48 + 3 * 2 ** -47;
        expect(Math.abs(d - (a - b) * Math.LN2)).toBeLessThan(roundings);
      }),
      propertyOptions(RUNS),
    );
  });
});

describe(`Hodges-Lehmann on quads under drift, seed ${seed}`, () => {
  test('recovers the ratio that sequential timing misses', () => {
    const ratio = Math.log(1.2);
    const drift = 0.05;
    let position = 0;
    const time = (log: number) => Math.exp(log + drift * position++);
    const quads = Array.from({ length: 8 }, (_, quad) => {
      if (quad % 2 === 0) {
        const a1 = time(ratio);
        const [b1, b2] = [time(0), time(0)];
        return quadLogRatio([a1, time(ratio)], [b1, b2]);
      }
      const b1 = time(0);
      const [a1, a2] = [time(ratio), time(ratio)];
      return quadLogRatio([a1, a2], [b1, time(0)]);
    });
    // 31 steps of drift reach exp(1.55 + 0.18); logs below 2 and times each within a few ulps.
    expect(Math.abs(hodgesLehmann(quads) - ratio)).toBeLessThan(16 * Number.EPSILON);
  });
});
