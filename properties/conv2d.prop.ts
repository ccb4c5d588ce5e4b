import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Conv2dArguments, conv2dDefinition, conv2dFast } from '../src/interpreters/kernels/conv2d.ts';
import { blockedMatMul, openMatMul } from '../src/interpreters/product.ts';
import { FLOAT64, gamma } from '../src/network/precision.ts';
import { elements, type Shape, type Tensor } from '../src/network/tensor.ts';
import { randomInput } from '../src/weights/random.ts';
import { type ConvDraw, convNorm, convolutions, extent } from './arbitraries.ts';
import { propertyOptions, seed } from './check.ts';

type Values = (shape: Shape, seed: number, name: string) => Tensor<Float64Array>;

/** Whole numbers from -8 to 8: every sum is exact in any order. */
const whole: Values = (shape, drawn, name) => ({
  shape,
  data: Float64Array.from(randomInput(shape, drawn, name).data, (value) => Math.round(value * 4.6)),
});

/** With all 53 bits, of both signs. */
const real: Values = (shape, drawn, name) => {
  const low = randomInput(shape, drawn, `${name} low`).data;
  return {
    shape,
    data: Float64Array.from(randomInput(shape, drawn, name).data, (high, i) => high + low[i]! * 2 ** -26),
  };
};

function argumentsFor(
  { batch, channels, height, width, op }: ConvDraw,
  drawn: number,
  values: Values,
): Conv2dArguments {
  const shape = convNorm({ batch, channels, height, width, op }, 1e-5).nodes.find(({ name }) => name === 'm.c')!.shape;
  return {
    op,
    x: values([batch, channels, height, width], drawn, 'x'),
    weight: values([op.outChannels, channels / op.groups, ...op.kernel], drawn, 'weight'),
    bias: op.bias ? values([op.outChannels], drawn, 'bias') : undefined,
    shape,
  };
}

const draws = [convolutions({ morePadding: 2 }), fc.nat(2 ** 32 - 1)] as const;

/** By index arithmetic alone, one output at a time: the sum over the taps, each read where PyTorch's formula says. */
function gathered({ op, x, weight, bias, shape }: Conv2dArguments): Float64Array {
  const [, c = 0, h = 0, w = 0] = x.shape;
  const [, o = 0, oh = 0, ow = 0] = shape;
  const y = new Float64Array(elements(shape));
  for (let i = 0; i < y.length; i++) {
    const [column, row] = [i % ow, Math.floor(i / ow) % oh];
    const filter = Math.floor(i / (ow * oh)) % o;
    const image = Math.floor(i / (ow * oh * o));
    const inGroup = c / op.groups;
    const first = Math.floor(filter / (o / op.groups)) * inGroup;
    y[i] = bias?.data[filter] ?? 0;
    for (let tap = 0; tap < inGroup * op.kernel[0] * op.kernel[1]; tap++) {
      const tapColumn = tap % op.kernel[1];
      const tapRow = Math.floor(tap / op.kernel[1]) % op.kernel[0];
      const channel = first + Math.floor(tap / (op.kernel[0] * op.kernel[1]));
      const fromRow = row * op.stride[0] + tapRow * op.dilation[0] - op.padding[0];
      const fromColumn = column * op.stride[1] + tapColumn * op.dilation[1] - op.padding[1];
      if (fromRow < 0 || fromRow >= h || fromColumn < 0 || fromColumn >= w) continue;
      const value = x.data[((image * c + channel) * h + fromRow) * w + fromColumn]!;
      y[i]! += value * weight.data[filter * inGroup * op.kernel[0] * op.kernel[1] + tap]!;
    }
  }
  return y;
}

function different(a: Float64Array, b: Float64Array): number[] {
  expect(a.length).toBe(b.length);
  expect(a.length).toBeGreaterThan(0);
  return [...a.keys()].filter((i) => a[i] !== b[i]);
}

/** Maps laid on zeros of another size; what would lie outside is cut off. */
function placed({ shape: from, data }: Tensor<Float64Array>, to: Shape, top: number, left: number): Float64Array {
  const [, , h = 0, w = 0] = from;
  const [, , height = 0, width = 0] = to;
  const result = new Float64Array(elements(to));
  data.forEach((value, i) => {
    const row = (Math.floor(i / w) % h) + top;
    const column = (i % w) + left;
    if (row < height && column < width) result[(Math.floor(i / (h * w)) * height + row) * width + column] = value;
  });
  return result;
}

const absolute = <T extends Tensor | undefined>(tensor: T) =>
  tensor && { shape: tensor.shape, data: Float64Array.from(tensor.data, Math.abs) };

describe(`conv2d, seed ${seed}`, () => {
  test('the definition is the sum over the taps, exactly, on whole numbers', async () => {
    await fc.assert(
      fc.asyncProperty(...draws, async (draw, drawn) => {
        const conv = argumentsFor(draw, drawn, whole);
        expect(different(conv2dDefinition(conv).data, gathered(conv))).toEqual([]);
      }),
      propertyOptions(300),
    );
  });

  test('as a matrix product it is the definition, exactly, on whole numbers', async () => {
    const { matmul } = await openMatMul();
    await fc.assert(
      fc.asyncProperty(...draws, async (draw, drawn) => {
        const conv = argumentsFor(draw, drawn, whole);
        const expected = conv2dDefinition(conv);
        for (const product of [matmul, blockedMatMul]) {
          const actual = await conv2dFast(conv, product);
          expect(actual.shape).toEqual(expected.shape);
          expect(different(actual.data, expected.data)).toEqual([]);
        }
      }),
      propertyOptions(300),
    );
  });

  test('as a matrix product it is the definition within the bound of both, on any numbers', async () => {
    const { matmul } = await openMatMul();
    await fc.assert(
      fc.asyncProperty(...draws, async (draw, drawn) => {
        const conv = argumentsFor(draw, drawn, real);
        const expected = conv2dDefinition(conv).data;
        const actual = (await conv2dFast(conv, matmul)).data;
        const magnitude = conv2dDefinition({
          ...conv,
          x: absolute(conv.x),
          weight: absolute(conv.weight),
          bias: absolute(conv.bias),
        }).data;
        const taps = (draw.channels / draw.op.groups) * draw.op.kernel[0] * draw.op.kernel[1];
        // Each side is within gamma of taps products and the bias; one more for the rounding of the magnitude itself.
        const factor = 2 * gamma(taps + 2, FLOAT64.unitRoundoff);
        expect(actual.length).toBeGreaterThan(0);
        const beyond = [...actual.keys()].filter(
          (i) => !(Math.abs(actual[i]! - expected[i]!) <= factor * magnitude[i]!),
        );
        expect(beyond).toEqual([]);
      }),
      propertyOptions(300),
    );
  });

  test('moving the input by whole strides moves the output', () => {
    const steps = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 }));
    const options = propertyOptions<[ConvDraw, number, [number, number]]>(200);
    let felt = 0;
    fc.assert(
      fc.property(...draws, steps, (draw, drawn, [down, right]) => {
        const { op } = draw;
        const strides = [down * op.stride[0], right * op.stride[1]] as const;
        // A 3x3 patch on zeros, too far from every border for a tap to miss it.
        const size = (axis: 0 | 1) => 2 * extent(op, axis) + 3 + strides[axis];
        const large = { ...draw, height: size(0), width: size(1), op: { ...op, bias: false } };
        const conv = argumentsFor(large, drawn, whole);
        const patchAt = (top: number, left: number) => {
          const patch = whole([draw.batch, draw.channels, 3, 3], drawn, 'patch');
          return { shape: conv.x.shape, data: placed(patch, conv.x.shape, extent(op, 0) + top, extent(op, 1) + left) };
        };
        const still = conv2dDefinition({ ...conv, x: patchAt(0, 0) });
        const moved = conv2dDefinition({ ...conv, x: patchAt(...strides) });
        expect(different(moved.data, placed(still, still.shape, down, right))).toEqual([]);
        if (down + right > 0 && still.data.some((value) => value !== 0)) felt++;
      }),
      options,
    );
    expect(felt).toBeGreaterThan(options.numRuns / 2);
  });

  test('skipping zero inputs changes nothing', () => {
    fc.assert(
      fc.property(...draws, fc.nat(2 ** 32 - 1), (draw, drawn, mask) => {
        const conv = argumentsFor(draw, drawn, whole);
        const keep = randomInput(conv.x.shape, mask, 'mask').data;
        const sparse = { shape: conv.x.shape, data: conv.x.data.map((value, i) => (keep[i]! > 0 ? value : 0)) };
        expect(different(conv2dDefinition({ ...conv, x: sparse }).data, gathered({ ...conv, x: sparse }))).toEqual([]);
      }),
      propertyOptions(200),
    );
  });
});
