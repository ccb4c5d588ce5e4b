import { describe, expect, test } from 'vitest';
import type { Tensor } from '../network/tensor.ts';
import { compareLogits } from './logits.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

function logits(...rows: number[][]): Tensor<Float64Array> {
  return { shape: [rows.length, rows[0]?.length ?? 0], data: Float64Array.from(rows.flat()) };
}

describe('compareLogits', () => {
  test('by hand', () => {
    // Errors 0, 1, 0, -2; expected squares 9 + 0 + 16 + 0; actual squares 9 + 1 + 16 + 4.
    const report = compareLogits(logits([3, 1], [4, -2]), logits([3, 0], [4, 0]));
    expect(report).toEqual({
      elements: 4,
      finite: true,
      maxAbsolute: 2,
      maxRelative: 0.5,
      rmsRelative: Math.sqrt(5 / 25),
      cosine: 25 / Math.sqrt(25 * 30),
      snr: 10 * Math.log10(5),
      top1: 2,
      top5: 2,
      images: 2,
    });
  });

  test('of equal logits', () => {
    const same = logits([1, 2, 2]);
    expect(compareLogits(same, same)).toMatchObject({
      maxAbsolute: 0,
      rmsRelative: 0,
      cosine: 1,
      snr: Number.POSITIVE_INFINITY,
      top1: 1,
      top5: 1,
    });
  });

  test('counts images by their best class and by their five best, in any order', () => {
    const expected = [9, 8, 7, 6, 5, 1, 0];
    const otherOrder = [8, 9, 7, 6, 5, 1, 0];
    const otherSet = [9, 8, 7, 6, 1, 5, 0];
    const report = compareLogits(logits(expected, otherOrder, otherSet), logits(expected, expected, expected));
    expect(report).toMatchObject({ images: 3, top1: 2, top5: 2 });
  });

  test('a tie goes to the first class', () => {
    expect(compareLogits(logits([5, 5]), logits([5, 4])).top1).toBe(1);
    expect(compareLogits(logits([5, 5]), logits([4, 5])).top1).toBe(0);
  });

  test.each<[string, Tensor<Float64Array>, Tensor<Float64Array>]>([
    ['NaN', logits([Number.NaN, 1]), logits([1, 1])],
    ['infinity', logits([Number.POSITIVE_INFINITY, 1]), logits([1, 1])],
    ['an expected NaN', logits([1, 1]), logits([1, Number.NaN])],
    ['a logit too few', logits([1]), logits([1, 1])],
    ['a logit too many', logits([1, 1, 1]), logits([1, 1])],
  ])('%s is not finite', (_name, actual, expected) => {
    expect(compareLogits(actual, expected).finite).toBe(false);
  });

  test.each([
    ['NaN', [9, nan, 1], [9, 2, 1]],
    ['an infinity', [inf, 2, 1], [9, 2, 1]],
    ['an expected NaN', [9, 2, 1], [9, 2, nan]],
    ['NaN on both sides', [9, nan, 1], [9, nan, 1]],
    ['nothing else', [nan, nan, nan], [nan, nan, nan]],
  ])('an image with %s agrees in nothing, and the others are counted', (_name, actual, expected) => {
    const good = [1, 5, 2];
    const report = compareLogits(logits(actual, good), logits(expected, good));
    expect(report).toMatchObject({ finite: false, images: 2, top1: 1, top5: 1 });
  });
});
