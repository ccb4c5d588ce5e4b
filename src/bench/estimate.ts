/**
 * The statistics of a latency ratio. Nothing here assumes a distribution: a ratio of timings on a shared machine has
 * heavy tails, and a mean follows its outliers.
 */

/** A ratio's estimate on the log scale with its interval. */
export interface Interval {
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
  /** The interval's true coverage: the exact level that the ranks give, never below the one asked for where n allows it. */
  readonly level: number;
}

function ascending(values: Iterable<number>): Float64Array {
  return Float64Array.from(values).sort();
}

/**
 * Quantile by linear interpolation between order statistics (definition 7 of Hyndman and Fan 1996, numpy's default).
 * @param probability in [0, 1]
 * @throws RangeError where there are no values
 */
export function quantile(values: Iterable<number>, probability: number): number {
  return sortedQuantile(ascending(values), probability);
}

function sortedQuantile(sorted: Float64Array, probability: number): number {
  if (sorted.length === 0) throw new RangeError('no values to take a quantile of');
  const position = (sorted.length - 1) * probability;
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[Math.ceil(position)]!;
  return low === high ? low : low + (high - low) * (position - below);
}

/** Middle value, or the mean of the two middle ones. */
export function median(values: Iterable<number>): number {
  return sortedMedian(ascending(values));
}

function sortedMedian(sorted: Float64Array): number {
  if (sorted.length === 0) throw new RangeError('no values to take a median of');
  const low = sorted[(sorted.length - 1) >> 1]!;
  const high = sorted[sorted.length >> 1]!;
  return low === high ? low : (low + high) / 2;
}

/**
 * Log of time A over time B from one quad, ABBA or BAAB. The mean position of A in it equals that of B, so a drift that
 * is linear in the log of time cancels.
 * @param a the two times of A, any unit, positive
 * @param b the two times of B, the same unit
 */
export function quadLogRatio(a: readonly [number, number], b: readonly [number, number]): number {
  return (Math.log(a[0]) + Math.log(a[1])) / 2 - (Math.log(b[0]) + Math.log(b[1])) / 2;
}

/** The means of all n (n + 1) / 2 pairs i <= j, ascending. Hollander, Wolfe and Chicken, 3.2. */
function walshAverages(d: readonly number[]): Float64Array {
  const averages = new Float64Array((d.length * (d.length + 1)) / 2);
  let next = 0;
  for (let i = 0; i < d.length; i++) for (let j = i; j < d.length; j++) averages[next++] = (d[i]! + d[j]!) / 2;
  return averages.sort();
}

/**
 * The largest c with 2 P(T <= c) <= 1 - level, where T is Wilcoxon's signed-rank statistic of n values without ties or
 * zeros, with the exact level 1 - 2 P(T <= c). Where even c = 0 is too likely, c = 0: the widest interval that n gives.
 */
export function signedRankCritical(n: number, level: number): { critical: number; level: number } {
  // probability[t] = P(T = t): each rank 1..n is in the sum with probability 1/2.
  const probability = new Float64Array((n * (n + 1)) / 2 + 1);
  probability[0] = 1;
  for (let rank = 1; rank <= n; rank++) {
    for (let t = probability.length - 1; t >= 0; t--) {
      probability[t] = (probability[t]! + (t >= rank ? probability[t - rank]! : 0)) / 2;
    }
  }
  let critical = 0;
  let tail = probability[0]!;
  while (critical + 1 < probability.length && 2 * (tail + probability[critical + 1]!) <= 1 - level) {
    critical++;
    tail += probability[critical]!;
  }
  return { critical, level: Math.max(0, 1 - 2 * tail) };
}

/**
 * The Hodges-Lehmann estimate with its distribution-free interval: the Walsh averages of ranks c + 1 from either end,
 * with c from {@link signedRankCritical}. Exact for independent values that are symmetric about one centre; fewer than
 * six values cannot reach 95 %, and the level says how far they do.
 * @throws RangeError where there are no values
 */
export function hodgesLehmannInterval(d: readonly number[], level = 0.95): Interval {
  const averages = walshAverages(d);
  const { critical, level: reached } = signedRankCritical(d.length, level);
  return {
    estimate: sortedMedian(averages),
    low: averages[critical]!,
    high: averages[averages.length - 1 - critical]!,
    level: reached,
  };
}
