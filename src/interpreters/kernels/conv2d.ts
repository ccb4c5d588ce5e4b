import type { OpOf, Pair } from '../../network/ops.ts';
import { elements, type FloatArray, type Tensor, toFloat64 } from '../../network/tensor.ts';
import type { MatMul } from '../product.ts';

type Conv = OpOf<'conv2d'>;
type Map4 = readonly [batch: number, channels: number, height: number, width: number];

/** What a convolution reads: x [N, C, H, W], weight [O, C/groups, kh, kw], bias [O]; and the shape of what it writes. */
export interface Conv2dArguments {
  readonly op: Conv;
  readonly x: Tensor<Float64Array>;
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  readonly shape: readonly number[];
}

/** Fills [N, O, H, W] with the bias of each channel. */
function fillBias(y: Float64Array, [n, o, h, w]: Map4, bias: FloatArray | undefined): void {
  if (bias === undefined) return;
  const area = h * w;
  for (let map = 0; map < n * o; map++) y.fill(bias[map % o]!, map * area, (map + 1) * area);
}

/**
 * The definition, in scatter form: every input element is sent to the outputs that it reaches. Zero inputs are skipped,
 * so that a one-hot probe costs only what it touches.
 */
export function conv2dDefinition({ op, x, weight, bias, shape }: Conv2dArguments): Tensor<Float64Array> {
  const [n, c, h, w] = x.shape as Map4;
  const out = shape as Map4;
  const [, o, oh, ow] = out;
  const [kh, kw] = op.kernel;
  const inGroup = c / op.groups;
  const outGroup = o / op.groups;
  const y = new Float64Array(elements(shape));
  fillBias(y, out, bias?.data);
  for (let image = 0; image < n; image++) {
    for (let channel = 0; channel < c; channel++) {
      const group = Math.floor(channel / inGroup);
      for (let row = 0; row < h; row++) {
        for (let column = 0; column < w; column++) {
          const value = x.data[((image * c + channel) * h + row) * w + column]!;
          if (value === 0) continue;
          for (let tapRow = 0; tapRow < kh; tapRow++) {
            const outRow = (row + op.padding[0] - tapRow * op.dilation[0]) / op.stride[0];
            if (!Number.isInteger(outRow) || outRow < 0 || outRow >= oh) continue;
            for (let tapColumn = 0; tapColumn < kw; tapColumn++) {
              const outColumn = (column + op.padding[1] - tapColumn * op.dilation[1]) / op.stride[1];
              if (!Number.isInteger(outColumn) || outColumn < 0 || outColumn >= ow) continue;
              for (let filter = group * outGroup; filter < (group + 1) * outGroup; filter++) {
                const tap = ((filter * inGroup + (channel % inGroup)) * kh + tapRow) * kw + tapColumn;
                y[((image * o + filter) * oh + outRow) * ow + outColumn]! += value * weight.data[tap]!;
              }
            }
          }
        }
      }
    }
  }
  return { shape, data: y };
}

/** Output positions whose tap falls inside the input along one axis: from `first` up to, not including, `end`. */
function validRange(input: number, output: number, tap: number, axis: 0 | 1, op: Conv): readonly [number, number] {
  const offset = tap * op.dilation[axis] - op.padding[axis];
  const first = Math.max(0, Math.ceil(-offset / op.stride[axis]));
  const end = Math.min(output, Math.floor((input - 1 - offset) / op.stride[axis]) + 1);
  return [first, end];
}

/** One filter per channel: each tap adds a shifted, scaled map. */
function depthwise({ op, x, weight, bias, shape }: Conv2dArguments): Tensor<Float64Array> {
  const [n, c, h, w] = x.shape as Map4;
  const out = shape as Map4;
  const [, o, oh, ow] = out;
  const [kh, kw] = op.kernel;
  const perChannel = o / c;
  const y = new Float64Array(elements(shape));
  fillBias(y, out, bias?.data);
  for (let map = 0; map < n * o; map++) {
    const filter = map % o;
    const from = (Math.floor(map / o) * c + Math.floor(filter / perChannel)) * h * w;
    const to = map * oh * ow;
    for (let tapRow = 0; tapRow < kh; tapRow++) {
      const [firstRow, endRow] = validRange(h, oh, tapRow, 0, op);
      for (let tapColumn = 0; tapColumn < kw; tapColumn++) {
        const [firstColumn, endColumn] = validRange(w, ow, tapColumn, 1, op);
        const tap = weight.data[(filter * kh + tapRow) * kw + tapColumn]!;
        const strideColumn = op.stride[1];
        for (let outRow = firstRow; outRow < endRow; outRow++) {
          const row = outRow * op.stride[0] + tapRow * op.dilation[0] - op.padding[0];
          let source = from + row * w + firstColumn * strideColumn + tapColumn * op.dilation[1] - op.padding[1];
          const end = to + outRow * ow + endColumn;
          for (let target = to + outRow * ow + firstColumn; target < end; target++) {
            y[target]! += tap * x.data[source]!;
            source += strideColumn;
          }
        }
      }
    }
  }
  return { shape, data: y };
}

/** [N, C, H, W] -> [N, C * kh * kw, oh * ow]: one row per tap, zero where it falls on the padding. */
function unfold(x: Tensor<Float64Array>, op: Conv, [oh, ow]: Pair): Float64Array {
  const [n, c, h, w] = x.shape as Map4;
  const [kh, kw] = op.kernel;
  const rows = new Float64Array(n * c * kh * kw * oh * ow);
  for (let map = 0; map < n * c; map++) {
    for (let tapRow = 0; tapRow < kh; tapRow++) {
      const [firstRow, endRow] = validRange(h, oh, tapRow, 0, op);
      for (let tapColumn = 0; tapColumn < kw; tapColumn++) {
        const [firstColumn, endColumn] = validRange(w, ow, tapColumn, 1, op);
        const to = ((map * kh + tapRow) * kw + tapColumn) * oh * ow;
        for (let outRow = firstRow; outRow < endRow; outRow++) {
          const row = outRow * op.stride[0] + tapRow * op.dilation[0] - op.padding[0];
          let source = (map * h + row) * w + firstColumn * op.stride[1] + tapColumn * op.dilation[1] - op.padding[1];
          for (let outColumn = firstColumn; outColumn < endColumn; outColumn++) {
            rows[to + outRow * ow + outColumn] = x.data[source]!;
            source += op.stride[1];
          }
        }
      }
    }
  }
  return rows;
}

function isPointwise(op: Conv): boolean {
  const all = (pair: Pair, value: number) => pair[0] === value && pair[1] === value;
  return all(op.kernel, 1) && all(op.stride, 1) && all(op.padding, 0);
}

/**
 * The same by a matrix product: weight [G, O/G, K] times the unfolded input [N, G, K, oh * ow]; a 1x1 convolution needs
 * no unfolding. Sums in another order than the definition, so equal to it up to rounding.
 */
export async function conv2dFast(conv: Conv2dArguments, matmul: MatMul): Promise<Tensor<Float64Array>> {
  const { op, x, weight, bias, shape } = conv;
  const [n, c] = x.shape as Map4;
  const out = shape as Map4;
  const [, o, oh, ow] = out;
  if (op.groups === c) return depthwise(conv);
  const taps = (c / op.groups) * op.kernel[0] * op.kernel[1];
  const columns = isPointwise(op) ? x.data : unfold(x, op, [oh, ow]);
  const product = await matmul(
    { shape: [op.groups, o / op.groups, taps], data: toFloat64(weight).data },
    { shape: [n, op.groups, taps, oh * ow], data: columns },
  );
  const y = product.data;
  if (bias !== undefined) {
    const area = oh * ow;
    for (let map = 0; map < n * o; map++) {
      const shift = bias.data[map % o]!;
      for (let i = map * area; i < (map + 1) * area; i++) y[i]! += shift;
    }
  }
  return { shape, data: y };
}
