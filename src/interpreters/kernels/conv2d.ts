import type { OpOf, Pair } from '../../network/ops.ts';
import { elements, type FloatArray, type Tensor } from '../../network/tensor.ts';
import type { MatMul } from '../product.ts';
import { type Arrays, NEW_ARRAYS, widen } from '../workspace.ts';
import { addPerChannel } from './elementwise.ts';

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

/** Fills [N, O, H, W] with the bias of each channel, or with zeros. */
function fillBias(y: Float64Array, [n, o, h, w]: Map4, bias: FloatArray | undefined): void {
  const area = h * w;
  for (let map = 0; map < n * o; map++) y.fill(bias?.[map % o] ?? 0, map * area, (map + 1) * area);
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

/** What the maps of a depthwise convolution have in common. */
interface Maps {
  readonly y: Float64Array;
  readonly height: number;
  readonly width: number;
  readonly strideRow: number;
  readonly strideColumn: number;
  /** Maps with their padding around them, so that no tap falls outside. */
  readonly x: Float64Array;
  /** Elements of x from one row to the next. */
  readonly pitch: number;
  readonly weight: FloatArray;
  /** Per tap, where it lies in x from the first one. */
  readonly offsets: Int32Array;
}

/** Adds a tap to the map of outputs at y[to]; its filter is at weight[filter], the map that it reads at x[from]. */
function addTap(maps: Maps, to: number, from: number, filter: number, tap: number): void {
  const { y, height, width, strideRow, strideColumn, x, pitch, weight, offsets } = maps;
  const w = weight[filter + tap]!;
  for (let row = 0; row < height; row++) {
    let p = from + row * strideRow * pitch + offsets[tap]!;
    const end = to + (row + 1) * width;
    for (let i = end - width; i < end; i++) {
      y[i]! += w * x[p]!;
      p += strideColumn;
    }
  }
}

/** Taps of a 3x3 kernel: so many are added in one pass over the outputs. */
const NINE = 9;

/** Adds taps `tap` to `tap + 8`, written out: a loop over them takes twice as long. */
function addNineTaps(maps: Maps, to: number, from: number, filter: number, tap: number): void {
  const { y, height, width, strideRow, strideColumn, x, pitch, weight, offsets } = maps;
  const first = filter + tap;
  const w0 = weight[first]!;
  const w1 = weight[first + 1]!;
  const w2 = weight[first + 2]!;
  const w3 = weight[first + 3]!;
  const w4 = weight[first + 4]!;
  const w5 = weight[first + 5]!;
  const w6 = weight[first + 6]!;
  const w7 = weight[first + 7]!;
  const w8 = weight[first + 8]!;
  const o0 = offsets[tap]!;
  const o1 = offsets[tap + 1]!;
  const o2 = offsets[tap + 2]!;
  const o3 = offsets[tap + 3]!;
  const o4 = offsets[tap + 4]!;
  const o5 = offsets[tap + 5]!;
  const o6 = offsets[tap + 6]!;
  const o7 = offsets[tap + 7]!;
  const o8 = offsets[tap + 8]!;
  for (let row = 0; row < height; row++) {
    let p = from + row * strideRow * pitch;
    const end = to + (row + 1) * width;
    for (let i = end - width; i < end; i++) {
      const top = w0 * x[p + o0]! + w1 * x[p + o1]! + w2 * x[p + o2]!;
      const middle = w3 * x[p + o3]! + w4 * x[p + o4]! + w5 * x[p + o5]!;
      const bottom = w6 * x[p + o6]! + w7 * x[p + o7]! + w8 * x[p + o8]!;
      y[i]! += top + middle + bottom;
      p += strideColumn;
    }
  }
}

/** Copies rows of `width` elements that lie close together to where they are `pitch` apart. */
function copyRows(
  x: Float64Array,
  from: number,
  width: number,
  rows: number,
  y: Float64Array,
  to: number,
  pitch: number,
): void {
  for (let row = 0; row < rows; row++) {
    const start = from + row * width;
    const target = to + row * pitch;
    for (let i = 0; i < width; i++) y[target + i] = x[start + i]!;
  }
}

/** One filter per channel: taps add shifted, scaled maps, nine at a time while there are as many. */
function depthwise({ op, x, weight, bias, shape }: Conv2dArguments, arrays: Arrays): Tensor<Float64Array> {
  const [n, c, h, w] = x.shape as Map4;
  const out = shape as Map4;
  const [, o, oh, ow] = out;
  const [kh, kw] = op.kernel;
  const [top, left] = op.padding;
  const y = arrays.take(elements(shape));
  fillBias(y, out, bias?.data);
  const isPadded = top + left > 0;
  const pitch = w + 2 * left;
  const space = isPadded ? arrays.take((h + 2 * top) * pitch).fill(0) : x.data;
  const offsets = Int32Array.from(
    { length: kh * kw },
    (_, tap) => Math.floor(tap / kw) * op.dilation[0] * pitch + (tap % kw) * op.dilation[1],
  );
  const [strideRow, strideColumn] = op.stride;
  const data = weight.data;
  const maps = { y, height: oh, width: ow, strideRow, strideColumn, x: space, pitch, weight: data, offsets };
  for (let map = 0; map < n * o; map++) {
    const channel = Math.floor((map % o) / (o / c));
    const source = (Math.floor(map / o) * c + channel) * h * w;
    if (isPadded) copyRows(x.data, source, w, h, space, top * pitch + left, pitch);
    const to = map * oh * ow;
    const from = isPadded ? 0 : source;
    const filter = (map % o) * kh * kw;
    let tap = 0;
    for (; tap + NINE <= kh * kw; tap += NINE) addNineTaps(maps, to, from, filter, tap);
    for (; tap < kh * kw; tap++) addTap(maps, to, from, filter, tap);
  }
  if (isPadded) arrays.release(space);
  return { shape, data: y };
}

/** Output positions whose tap falls inside the input along one axis: from `first` up to, not including, `end`. */
function validRange(input: number, output: number, tap: number, axis: 0 | 1, op: Conv): readonly [number, number] {
  const offset = tap * op.dilation[axis] - op.padding[axis];
  const first = Math.max(0, Math.ceil(-offset / op.stride[axis]));
  const end = Math.min(output, Math.floor((input - 1 - offset) / op.stride[axis]) + 1);
  return [first, end];
}

/** [N, C, H, W] -> [N, C * kh * kw, oh * ow]: one row per tap, zero where it falls on the padding. */
function unfold(x: Tensor<Float64Array>, op: Conv, [oh, ow]: Pair, arrays: Arrays): Float64Array {
  const [n, c, h, w] = x.shape as Map4;
  const [kh, kw] = op.kernel;
  const rows = arrays.take(n * c * kh * kw * oh * ow).fill(0);
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
export async function conv2dFast(
  conv: Conv2dArguments,
  matmul: MatMul,
  arrays: Arrays = NEW_ARRAYS,
): Promise<Tensor<Float64Array>> {
  const { op, x, weight, bias, shape } = conv;
  const [n, c] = x.shape as Map4;
  const [, o, oh, ow] = shape as Map4;
  if (op.groups === c) return depthwise(conv, arrays);
  const taps = (c / op.groups) * op.kernel[0] * op.kernel[1];
  const columns = isPointwise(op) ? x.data : unfold(x, op, [oh, ow], arrays);
  const kernel = widen(weight.data, arrays);
  const product = await matmul(
    { shape: [op.groups, o / op.groups, taps], data: kernel },
    { shape: [n, op.groups, taps, oh * ow], data: columns },
    arrays,
  );
  if (kernel !== weight.data) arrays.release(kernel);
  if (columns !== x.data) arrays.release(columns);
  const y = { shape, data: product.data };
  if (bias !== undefined) addPerChannel(y, bias.data);
  return y;
}
