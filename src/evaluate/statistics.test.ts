import { expect, test } from 'vitest';
import { isNearTie, Tally } from './statistics.ts';

const image = (file: string, label?: number) => ({ path: file, file, label });
const row = (...values: number[]) => Float32Array.from(values);

test('counts accuracy, agreement and distances', () => {
  const tally = new Tally(0.01);
  const sure = row(0, 9, 1, 2, 3, 4, 5);
  tally.add(image('right', 1), { train: sure, deploy: sure });
  tally.add(image('among five', 3), { train: sure, deploy: sure });
  tally.add(image('not among five', 0), { train: sure, deploy: sure.map((x) => x + 0.5) });
  expect(tally.result()).toMatchObject({
    images: 3,
    accuracy: { train: { top1: 1, top5: 2 }, deploy: { top1: 1, top5: 2 } },
    agreeing: 3,
    disagreements: [],
    largestDifference: 0.5,
    largestLogit: 9.5,
  });
});

test('of equal logits the first class is the best', () => {
  const tally = new Tally(0.01);
  const tied = row(1, 1, 0);
  tally.add(image('second', 1), { train: tied, deploy: tied });
  expect(tally.result()).toMatchObject({ agreeing: 1, accuracy: { train: { top1: 0, top5: 1 } } });
});

test('a disagreement is a near-tie where its logits moved by no more than is allowed', () => {
  // Every number here is a multiple of a power of two, so that sums and products are exact.
  const tally = new Tally(2 ** -7);
  tally.add(image('near'), { train: row(8, 8.03125, 1), deploy: row(8.015625, 7.984375, 1) });
  tally.add(image('far'), { train: row(8, 8.125, 1), deploy: row(8.125, 8, 1) });
  const { accuracy, agreeing, disagreements } = tally.result();
  expect(accuracy).toBeUndefined();
  expect(agreeing).toBe(0);
  expect(disagreements.map(isNearTie)).toEqual([true, false]);
  const [near] = disagreements;
  expect(near).toMatchObject({ file: 'near', train: { best: 1 }, deploy: { best: 0 } });
  expect(near!.moved).toBe(0.0625);
  expect(near!.allowance).toBe(8.03125 * 2 ** -7);
  expect(near!.train.margin).toBe(0.03125);
});

test('without a precision it cannot be judged', () => {
  const tally = new Tally(undefined);
  tally.add(image('any'), { train: row(0, 1), deploy: row(1, 0) });
  expect(tally.result().disagreements.map(isNearTie)).toEqual([undefined]);
});

test('what is no number agrees with nothing', () => {
  const tally = new Tally(1);
  tally.add(image('broken', 0), { train: row(1, 0), deploy: row(Number.NaN, 0) });
  expect(tally.result()).toMatchObject({
    images: 1,
    agreeing: 0,
    notFinite: { train: [], deploy: ['broken'] },
    accuracy: { train: { top1: 1 }, deploy: { top1: 0, top5: 0 } },
  });
});
