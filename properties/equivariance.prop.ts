/**
 * What the basis tier relies on when it probes small maps and single windows: ops commute with shifts of the map, and with
 * the order of images, windows and channels, wherever they are said to. By the oracle's definitions, on whole numbers, so
 * exactly.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { NetworkBuilder } from '../src/network/builder.ts';
import type { Network, Op } from '../src/network/ops.ts';
import { elements, type Shape } from '../src/network/tensor.ts';
import { convolutions, inputFor, type Values, values, weightsFor } from './arbitraries.ts';
import { propertyOptions, seed } from './check.ts';

const DYADIC_EPS = 2 ** -17;
const exact = values('dyadic');

function networkOf(op: Op, shape: Shape): Network {
  const builder = new NetworkBuilder('one');
  return builder.build(builder.add('m', op, [builder.input('input', shape)]));
}

async function run(network: Network, drawn: Values, shape: Shape, data: Float64Array): Promise<Float64Array> {
  const inputs = new Map([['input', { shape, data }]]);
  const values_ = await evaluateFloat64(network, weightsFor(network, drawn), inputs, { kernels: 'definition' });
  return values_.get(network.output)!.data;
}

/** A map within a larger one of zeros, its corner at [top, left]. */
function placed(
  data: ArrayLike<number>,
  [n = 1, c = 1, h = 1, w = 1]: Shape,
  size: Shape,
  corner: Shape,
): Float64Array {
  const [, , height = 1, width = 1] = size;
  const [top = 0, left = 0] = corner;
  const large = new Float64Array(n * c * height * width);
  for (let i = 0; i < data.length; i++) {
    const [map, row, column] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    large[(map * height + top + row) * width + left + column] = data[i]!;
  }
  return large;
}

/** The part of a map [., ., H, W] that begins at [top, left]. */
function cropped(data: Float64Array, size: Shape, corner: Shape, [h = 1, w = 1]: Shape): Float64Array {
  const [n = 1, c = 1, height = 1, width = 1] = size;
  const [top = 0, left = 0] = corner;
  const small = new Float64Array(n * c * h * w);
  for (let i = 0; i < small.length; i++) {
    const [map, row, column] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    small[i] = data[(map * height + top + row) * width + left + column]!;
  }
  return small;
}

const shifts = fc.tuple(fc.nat(3), fc.nat(3));

function expectSame(actual: Float64Array, expected: Float64Array): void {
  expect(actual.length).toBe(expected.length);
  expect(actual.length).toBeGreaterThan(0);
  expect([...actual.keys()].filter((i) => actual[i] !== expected[i])).toEqual([]);
}

describe(`shifts, seed ${seed}`, () => {
  test('conv2d: a shift by so many strides shifts the output by as many pixels', async () => {
    await fc.assert(
      fc.asyncProperty(convolutions(), shifts, exact, async ({ batch, channels, height, width, op }, by, drawn) => {
        const shape = [batch, channels, height, width];
        const small = inputFor(networkOf(op, shape), drawn).data;
        const margin = ([0, 1] as const).map((axis) => op.dilation[axis] * (op.kernel[axis] - 1) + 1 + op.stride[axis]);
        const moved = ([0, 1] as const).map((axis) => by[axis] * op.stride[axis]);
        const size = [batch, channels, height + 2 * margin[0]! + moved[0]!, width + 2 * margin[1]! + moved[1]!];
        const network = networkOf(op, size);
        const out = network.nodes.at(-1)!.shape;
        const first = await run(network, drawn, size, placed(small, shape, size, margin));
        const corner = margin.map((length, axis) => length + moved[axis]!);
        const second = await run(network, drawn, size, placed(small, shape, size, corner));
        const common = [out[2]! - by[0], out[3]! - by[1]];
        // The outermost outputs see the padding of one of the two.
        const edge = ([0, 1] as const).map((axis) => Math.ceil(op.padding[axis] / op.stride[axis]));
        const inner = common.map((length, axis) => length - 2 * edge[axis]!);
        fc.pre(inner.every((length) => length > 0));
        const shifted = edge.map((length, axis) => length + by[axis as 0 | 1]);
        expectSame(cropped(second, out, shifted, inner), cropped(first, out, edge, inner));
      }),
      propertyOptions(150),
    );
  });

  const pointwise: readonly (readonly [string, Op])[] = [
    ['batchNorm', { kind: 'batchNorm', eps: DYADIC_EPS }],
    ['scale', { kind: 'scale', factor: -0.5 }],
    ['relu', { kind: 'relu' }],
  ];
  test.each(pointwise)('%s: any permutation of the pixels', async (_name, op) => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 12 }), fc.nat(), exact, async (pixels, turn, drawn) => {
        const shape = [2, 3, 1, pixels];
        const network = networkOf(op, shape);
        const x = Float64Array.from(inputFor(network, drawn).data);
        // A rotation within each map.
        const permuted = (data: Float64Array) =>
          data.map((_, i) => data[i - (i % pixels) + (((i % pixels) + turn) % pixels)]!);
        expectSame(await run(network, drawn, shape, permuted(x)), permuted(await run(network, drawn, shape, x)));
      }),
      propertyOptions(50),
    );
  });

  test('globalAvgPool: any permutation of the pixels changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(1, 2, 4, 8), fc.nat(), exact, async (pixels, turn, drawn) => {
        const shape = [2, 3, 1, pixels];
        const network = networkOf({ kind: 'globalAvgPool', keepDims: true }, shape);
        const x = Float64Array.from(inputFor(network, drawn).data);
        const permuted = x.map((_, i) => x[i - (i % pixels) + (((i % pixels) + turn) % pixels)]!);
        expectSame(await run(network, drawn, shape, permuted), await run(network, drawn, shape, x));
      }),
      propertyOptions(50),
    );
  });
});

describe(`windows are a batch, seed ${seed}`, () => {
  test.each([false, true])('setLinear, bias %s: windows in another order come out in that order', async (bias) => {
    const sizes = fc.record({
      windows: fc.integer({ min: 1, max: 5 }),
      sets: fc.integer({ min: 1, max: 3 }),
      h: fc.integer({ min: 1, max: 3 }),
      w: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), exact, async ({ windows, sets, h, w }, turn, drawn) => {
        const shape = [windows, sets, h, w];
        const network = networkOf({ kind: 'setLinear', bias }, shape);
        const x = Float64Array.from(inputFor(network, drawn).data);
        const each = sets * h * w;
        const permuted = (data: Float64Array) => data.map((_, i) => data[(i + (turn % windows) * each) % data.length]!);
        expectSame(await run(network, drawn, shape, permuted(x)), permuted(await run(network, drawn, shape, x)));
      }),
      propertyOptions(80),
    );
  });

  test('partition and departition move elements, each to a place of its own, whatever they are', async () => {
    const sizes = fc.record({
      batch: fc.integer({ min: 1, max: 2 }),
      sets: fc.integer({ min: 1, max: 3 }),
      perSet: fc.integer({ min: 1, max: 3 }),
      rows: fc.integer({ min: 1, max: 2 }),
      columns: fc.integer({ min: 1, max: 3 }),
      h: fc.integer({ min: 1, max: 3 }),
      w: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(sizes, exact, async ({ batch, sets, perSet, rows, columns, h, w }, drawn) => {
        const map = [batch, sets * perSet, rows * h, columns * w];
        const windows = [batch * perSet * rows * columns, sets, h, w];
        for (const [network, shape] of [
          [networkOf({ kind: 'partition', window: [h, w], sets }, map), map],
          [networkOf({ kind: 'departition', channels: sets * perSet, parts: [rows, columns] }, windows), windows],
        ] as const) {
          const index = Float64Array.from({ length: elements(shape) }, (_, i) => i);
          const places = await run(network, drawn, shape, index);
          expectSame(places.toSorted(), index);
          const x = Float64Array.from(inputFor(network, drawn).data);
          expectSame(
            await run(network, drawn, shape, x),
            places.map((from) => x[from]!),
          );
        }
      }),
      propertyOptions(80),
    );
  });
});
