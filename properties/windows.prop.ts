import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluateFloat64, type Float64Options } from '../src/interpreters/float64.ts';
import { NetworkBuilder } from '../src/network/builder.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import type { Network, Op } from '../src/network/ops.ts';
import { FLOAT64 } from '../src/network/precision.ts';
import { elements, type Shape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { runtimeBound } from '../src/verify/bounds.ts';
import { propertyOptions, seed } from './check.ts';

const RUNS = 200;

type Float64 = Tensor<Float64Array>;
type Kernels = Float64Options['kernels'];
const KERNELS: readonly Kernels[] = ['definition', 'fast'];

/** Maps [N, C, H, W] in windows: C = q * S, H = rows * h, W = columns * w. */
interface Cut {
  readonly n: number;
  readonly q: number;
  readonly s: number;
  readonly rows: number;
  readonly columns: number;
  readonly h: number;
  readonly w: number;
}

const few = fc.integer({ min: 1, max: 3 });
const cuts: fc.Arbitrary<Cut> = fc.record({
  n: few,
  q: few,
  s: few,
  rows: few,
  columns: few,
  h: few,
  w: fc.integer({ min: 1, max: 4 }),
});
/** More than one share-set, each of more than one channel. */
const dealt = cuts.filter(({ q, s }) => q > 1 && s > 1);

const mapShape = ({ n, q, s, rows, columns, h, w }: Cut): Shape => [n, q * s, rows * h, columns * w];
const windowsShape = ({ n, q, s, rows, columns, h, w }: Cut): Shape => [n * rows * columns * q, s, h, w];
const partition = ({ h, w, s }: Cut): Op => ({ kind: 'partition', window: [h, w], sets: s });
const departition = ({ q, s, rows, columns }: Cut): Op => ({
  kind: 'departition',
  channels: q * s,
  parts: [rows, columns],
});

/** One op named `y` on an input `x`. */
function oneNode(op: Op, shape: Shape): Network {
  const builder = new NetworkBuilder(op.kind);
  return builder.build(builder.add('y', op, [builder.input('x', shape)]));
}

async function evaluate(op: Op, x: Float64, weights: Weights = new Map(), kernels: Kernels = 'fast'): Promise<Float64> {
  const values = await evaluateFloat64(oneNode(op, x.shape), weights, new Map([['x', x]]), { kernels });
  return values.get('y')!;
}

/** 1, 2, 3, ...: no two elements are equal. */
function ramp(shape: Shape): Float64 {
  return { shape, data: Float64Array.from({ length: elements(shape) }, (_, i) => i + 1) };
}

interface Place {
  readonly image: number;
  /** Channel / S, and its remainder. */
  readonly r: number;
  readonly set: number;
  /** Of the window. */
  readonly row: number;
  readonly column: number;
  /** Of the pixel in its window. */
  readonly y: number;
  readonly x: number;
}

function places({ n, q, s, rows, columns, h, w }: Cut): Place[] {
  const all: Place[] = [];
  for (let i = 0; i < n * q * s * rows * columns * h * w; i++) {
    let rest = i;
    const next = (size: number) => {
      const digit = rest % size;
      rest = Math.floor(rest / size);
      return digit;
    };
    const [x, y, column, row, set, r] = [next(w), next(h), next(columns), next(rows), next(s), next(q)] as const;
    all.push({ image: rest, r, set, row, column, y, x });
  }
  return all;
}

/** Row-major index of digits in their sizes. */
const indexOf = (...digits: readonly (readonly [digit: number, size: number])[]): number =>
  digits.reduce((index, [digit, size]) => index * size + digit, 0);

/** In [N, C, H, W], the channel being r * S + s. */
const inMap = (c: Cut, p: Place): number =>
  indexOf(
    [p.image, c.n],
    [p.r * c.s + p.set, c.q * c.s],
    [p.row * c.h + p.y, c.rows * c.h],
    [p.column * c.w + p.x, c.columns * c.w],
  );
/** The same with the share-set as the slow axis of the channels: a wrong reading. */
const inMapSetsSlow = (c: Cut, p: Place): number =>
  indexOf(
    [p.image, c.n],
    [p.set * c.q + p.r, c.q * c.s],
    [p.row * c.h + p.y, c.rows * c.h],
    [p.column * c.w + p.x, c.columns * c.w],
  );
const inWindow = (c: Cut, p: Place) =>
  [
    [p.set, c.s],
    [p.y, c.h],
    [p.x, c.w],
  ] as const;
/** In [R, S, h, w], R over (image, window row, window column, channel / S). */
const asWritten = (c: Cut, p: Place): number =>
  indexOf([p.image, c.n], [p.row, c.rows], [p.column, c.columns], [p.r, c.q], ...inWindow(c, p));
/** In [R, S, h, w], R over (image, channel / S, window row, window column). */
const asRead = (c: Cut, p: Place): number =>
  indexOf([p.image, c.n], [p.r, c.q], [p.row, c.rows], [p.column, c.columns], ...inWindow(c, p));

/** `to` = element `from` of x, for each place. */
function moved(x: Float64, shape: Shape, cut: Cut, from: typeof inMap, to: typeof inMap): Float64 {
  const data = new Float64Array(x.data.length);
  for (const place of places(cut)) data[to(cut, place)] = x.data[from(cut, place)]!;
  return { shape, data };
}

/** Whole numbers: sums of their products are exact, in any order. */
const whole = fc.integer({ min: -100, max: 100 });
/** Of scales from 2^-40 to 2^40, and zero. */
const wide = fc
  .tuple(fc.integer({ min: -(2 ** 26), max: 2 ** 26 }), fc.integer({ min: -66, max: 14 }))
  .map(([mantissa, exponent]) => mantissa * 2 ** exponent);

function tensor(shape: Shape, element: fc.Arbitrary<number>): fc.Arbitrary<Float64> {
  const length = elements(shape);
  return fc
    .array(element, { minLength: length, maxLength: length, size: 'max' })
    .map((values) => ({ shape, data: Float64Array.from(values) }));
}

interface Problem {
  readonly cut: Cut;
  readonly op: Op;
  readonly x: Float64;
  readonly weights: ReadonlyMap<string, Float64>;
}

/** An op with all its weights, on maps or on windows of a cut. */
function problems(
  element: fc.Arbitrary<number>,
  shapeOf: (cut: Cut) => Shape,
  ...ops: ((cut: Cut) => Op)[]
): fc.Arbitrary<Problem> {
  return fc.tuple(cuts, fc.constantFrom(...ops)).chain(([cut, opOf]) => {
    const op = opOf(cut);
    const shapes = [...weightShapesByKey(oneNode(op, shapeOf(cut)))];
    return fc
      .tuple(tensor(shapeOf(cut), element), ...shapes.map(([, shape]) => tensor(shape, element)))
      .map(([x, ...tensors]) => ({ cut, op, x, weights: new Map(shapes.map(([key], i) => [key, tensors[i]!])) }));
  });
}

const setLinear = (bias: boolean) => (): Op => ({ kind: 'setLinear', bias });
const windowLinear =
  (bias: boolean, affine: boolean) =>
  ({ h, w, s }: Cut): Op => ({ kind: 'windowLinear', window: [h, w], sets: s, bias, affine });
const setLinears = [setLinear(true), setLinear(false)];
const windowLinears = [true, false].flatMap((bias) => [true, false].map((affine) => windowLinear(bias, affine)));

/** Elements without their zeros' signs. */
const plain = ({ shape, data }: Float64) => ({ shape, data: data.map((value) => value + 0) });

/** partition, setLinear, the constants of each channel, departition. */
async function composed({ cut, op, x, weights }: Problem): Promise<Float64> {
  if (op.kind !== 'windowLinear') throw new Error(`${op.kind} is no composition`);
  const windows = await evaluate(partition(cut), x);
  const weight = (role: string) => weights.get(`y.${role}`)!.data;
  const linear = await evaluate({ kind: 'setLinear', bias: false }, windows, weights);
  const data = linear.data.map((value, i) => {
    const pixel = i % (cut.s * cut.h * cut.w); // of its share-set's window
    const set = Math.floor(pixel / (cut.h * cut.w));
    const channel = (Math.floor(i / (cut.s * cut.h * cut.w)) % cut.q) * cut.s + set;
    const scaled = op.affine
      ? weight('scale')[channel]! * value + weight('shift')[channel]! * weight('row_sum')[pixel]!
      : value;
    return op.bias ? scaled + weight('bias')[pixel]! : scaled;
  });
  return evaluate(departition(cut), { shape: linear.shape, data });
}

describe(`windows, seed ${seed}`, () => {
  test('partition puts every element where its place says', async () => {
    await fc.assert(
      fc.asyncProperty(cuts, async (cut) => {
        const x = ramp(mapShape(cut));
        expect(await evaluate(partition(cut), x)).toEqual(moved(x, windowsShape(cut), cut, inMap, asWritten));
      }),
      propertyOptions(RUNS),
    );
  });

  test('departition takes every element from where its place says', async () => {
    await fc.assert(
      fc.asyncProperty(cuts, async (cut) => {
        const x = ramp(windowsShape(cut));
        expect(await evaluate(departition(cut), x)).toEqual(moved(x, mapShape(cut), cut, asRead, inMap));
      }),
      propertyOptions(RUNS),
    );
  });

  test('departition undoes partition where a map is one window or a share-set one channel, and nowhere else', async () => {
    await fc.assert(
      fc.asyncProperty(cuts, async (cut) => {
        const x = ramp(mapShape(cut));
        const back = await evaluate(departition(cut), await evaluate(partition(cut), x));
        const same = back.data.every((value, i) => value === x.data[i]);
        expect(same).toBe(cut.rows * cut.columns === 1 || cut.q === 1);
        expect([...back.data].sort((a, b) => a - b)).toEqual([...x.data]);
      }),
      propertyOptions(RUNS),
    );
  });

  test('the share-set as the slow axis of the channels is another partition and another departition', async () => {
    await fc.assert(
      fc.asyncProperty(dealt, async (cut) => {
        const map = ramp(mapShape(cut));
        const windows = ramp(windowsShape(cut));
        const slowPartition = moved(map, windows.shape, cut, inMapSetsSlow, asWritten);
        const slowDepartition = moved(windows, map.shape, cut, asRead, inMapSetsSlow);
        expect(await evaluate(partition(cut), map)).not.toEqual(slowPartition);
        expect(await evaluate(departition(cut), windows)).not.toEqual(slowDepartition);
      }),
      propertyOptions(RUNS),
    );
  });

  test('setLinear by matrix products is the definition, exactly, on whole numbers', async () => {
    await fc.assert(
      fc.asyncProperty(problems(whole, windowsShape, ...setLinears), async ({ op, x, weights }) => {
        const expected = await evaluate(op, x, weights, 'definition');
        expect(plain(await evaluate(op, x, weights, 'fast'))).toEqual(plain(expected));
      }),
      propertyOptions(RUNS),
    );
  });

  test('both setLinears are within the bound of each other on any numbers', async () => {
    await fc.assert(
      fc.asyncProperty(problems(wide, windowsShape, ...setLinears), async ({ op, x, weights }) => {
        const expected = await evaluate(op, x, weights, 'definition');
        const actual = await evaluate(op, x, weights, 'fast');
        const { bound } = await runtimeBound(oneNode(op, x.shape), weights, new Map([['x', x]]), FLOAT64);
        const beyond = [...expected.data.keys()].filter(
          // Each of the two is within one bound of the exact value.
          (i) => !(Math.abs(actual.data[i]! - expected.data[i]!) <= 2 * bound[i]!),
        );
        expect(beyond).toEqual([]);
      }),
      propertyOptions(RUNS),
    );
  });

  test.each(KERNELS)('windowLinear, %s, is partition, setLinear, constants and departition', async (kernels) => {
    await fc.assert(
      fc.asyncProperty(problems(whole, mapShape, ...windowLinears), async (problem) => {
        const actual = await evaluate(problem.op, problem.x, problem.weights, kernels);
        expect(plain(actual)).toEqual(plain(await composed(problem)));
      }),
      propertyOptions(RUNS),
    );
  });
});
