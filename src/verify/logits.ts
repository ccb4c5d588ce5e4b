import type { FloatArray, Tensor } from '../network/tensor.ts';

/** What the user sees: how far one network's logits [N, classes] are from another's. */
export interface LogitsReport {
  readonly elements: number;
  readonly finite: boolean;
  readonly maxAbsolute: number;
  /** Largest absolute error over the largest expected logit. */
  readonly maxRelative: number;
  /** Root mean square of the error over that of the expected logits. */
  readonly rmsRelative: number;
  readonly cosine: number;
  /** Signal to noise in decibels; infinite where all agree exactly. */
  readonly snr: number;
  /** Images whose best class agrees, of all. */
  readonly top1: number;
  /** Images whose five best classes agree as a set (all classes where there are fewer), of all. */
  readonly top5: number;
  readonly images: number;
}

function bestClasses(logits: FloatArray, count: number): number[] {
  const order = Array.from(logits, (_, index) => index);
  // Sorting is stable: a tie goes to the first.
  return order.sort((a, b) => logits[b]! - logits[a]!).slice(0, count);
}

export function compareLogits(actual: Tensor, expected: Tensor): LogitsReport {
  const [images = 1, classes = 1] = expected.shape;
  let maxAbsolute = 0;
  let largest = 0;
  let error2 = 0;
  let expected2 = 0;
  let actual2 = 0;
  let product = 0;
  let finite = actual.data.length === expected.data.length;
  for (let i = 0; i < expected.data.length; i++) {
    const a = actual.data[i] ?? Number.NaN;
    const e = expected.data[i]!;
    finite &&= Number.isFinite(a) && Number.isFinite(e);
    maxAbsolute = Math.max(maxAbsolute, Math.abs(a - e));
    largest = Math.max(largest, Math.abs(e));
    error2 += (a - e) ** 2;
    expected2 += e * e;
    actual2 += a * a;
    product += a * e;
  }
  let top1 = 0;
  let top5 = 0;
  for (let image = 0; image < images; image++) {
    const range = [image * classes, (image + 1) * classes] as const;
    // NaN has no place in an order, so such an image agrees in nothing.
    if (![actual, expected].every(({ data }) => data.subarray(...range).every(Number.isFinite))) continue;
    const best = bestClasses(actual.data.subarray(...range), 5);
    const expectedBest = bestClasses(expected.data.subarray(...range), 5);
    if (best[0] === expectedBest[0]) top1++;
    if (best.every((name) => expectedBest.includes(name))) top5++;
  }
  return {
    elements: expected.data.length,
    finite,
    maxAbsolute,
    maxRelative: maxAbsolute / largest,
    rmsRelative: Math.sqrt(error2 / expected2),
    cosine: product / Math.sqrt(expected2 * actual2),
    snr: 10 * Math.log10(expected2 / error2),
    top1,
    top5,
    images,
  };
}
