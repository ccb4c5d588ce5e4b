import { expect, test } from 'vitest';
import { compareLogits } from './logits.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

const images = (...rows: number[][]) => ({ shape: [rows.length, 3], data: Float64Array.from(rows.flat()) });

test.each([
  ['NaN', [9, nan, 1], [9, 2, 1]],
  ['an infinity', [inf, 2, 1], [9, 2, 1]],
  ['an expected NaN', [9, 2, 1], [9, 2, nan]],
  ['NaN on both sides', [9, nan, 1], [9, nan, 1]],
  ['nothing else', [nan, nan, nan], [nan, nan, nan]],
])('an image with %s agrees in nothing, and the others are counted', (_name, actual, expected) => {
  const good = [1, 5, 2];
  const report = compareLogits(images(actual, good), images(expected, good));
  expect(report).toMatchObject({ finite: false, images: 2, top1: 1, top5: 1 });
});
