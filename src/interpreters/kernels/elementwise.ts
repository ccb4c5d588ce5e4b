import { elements, type FloatArray, type Shape, type Tensor } from '../../network/tensor.ts';
import { type Arrays, NEW_ARRAYS, widen } from '../workspace.ts';

type Float64 = Tensor<Float64Array>;

/** f of every element. */
export function map(x: Float64, f: (value: number) => number, arrays: Arrays = NEW_ARRAYS): Float64 {
  const from = x.data;
  const data = arrays.take(from.length);
  for (let i = 0; i < data.length; i++) data[i] = f(from[i]!);
  return { shape: x.shape, data };
}

/** max(x, 0) of every element; NaN stays NaN. */
export function relu(x: Float64, arrays: Arrays = NEW_ARRAYS): Float64 {
  const from = x.data;
  const data = arrays.take(from.length);
  for (let i = 0; i < data.length; i++) {
    const value = from[i]!;
    data[i] = value < 0 ? 0 : value;
  }
  return { shape: x.shape, data };
}

/** factor[c] * x + shift[c] on axis 1 of [N, C, ...]. */
export function affinePerChannel(
  x: Float64,
  factor: FloatArray,
  shift: FloatArray,
  arrays: Arrays = NEW_ARRAYS,
): Float64 {
  const channels = x.shape[1] ?? 1;
  const area = elements(x.shape.slice(2));
  const from = x.data;
  const data = arrays.take(from.length);
  for (let start = 0, map = 0; start < data.length; start += area, map++) {
    const f = factor[map % channels]!;
    const s = shift[map % channels]!;
    const end = start + area;
    for (let i = start; i < end; i++) data[i] = from[i]! * f + s;
  }
  return { shape: x.shape, data };
}

/** Adds shift[c] to axis 1 of [N, C, ...] in place. */
export function addPerChannel({ shape, data }: Float64, shift: FloatArray): void {
  const area = elements(shape.slice(2));
  for (let start = 0, map = 0; start < data.length; start += area, map++) {
    const s = shift[map % shift.length]!;
    const end = start + area;
    for (let i = start; i < end; i++) data[i]! += s;
  }
}

/** Adds a constant to every element in place. */
export function addConstant(x: Float64, constant: number): Float64 {
  const { data } = x;
  for (let i = 0; i < data.length; i++) data[i]! += constant;
  return x;
}

/** Sum of two or more tensors of one shape, left to right, and of a constant. */
export function sum(tensors: readonly Float64[], arrays: Arrays = NEW_ARRAYS, constant = 0): Float64 {
  const [first, second, ...rest] = tensors as readonly [Float64, Float64, ...Float64[]];
  const [a, b] = [first.data, second.data];
  const data = arrays.take(a.length);
  for (let i = 0; i < data.length; i++) data[i] = a[i]! + b[i]! + constant;
  for (const { data: term } of rest) {
    for (let i = 0; i < data.length; i++) data[i]! += term[i]!;
  }
  return { shape: first.shape, data };
}

/** x [N, C, H, W] times gate [N, C, 1, 1]. */
export function gateProduct(x: Float64, gate: Float64, arrays: Arrays = NEW_ARRAYS): Float64 {
  const area = elements(x.shape.slice(2));
  const from = x.data;
  const data = arrays.take(from.length);
  for (let start = 0, map = 0; start < data.length; start += area, map++) {
    const factor = gate.data[map]!;
    const end = start + area;
    for (let i = start; i < end; i++) data[i] = from[i]! * factor;
  }
  return { shape: x.shape, data };
}

/** Mean over H and W of [N, C, H, W], in the given output shape. */
export function spatialMean(x: Float64, shape: Shape): Float64 {
  const area = elements(x.shape.slice(2));
  const data = new Float64Array(elements(shape));
  for (let map = 0; map < data.length; map++) {
    let total = 0;
    for (let i = map * area; i < (map + 1) * area; i++) total += x.data[i]!;
    data[map] = total / area;
  }
  return { shape, data };
}

/** x [N, I] times the transpose of weight [O, I], plus bias [O]. */
export function linear(x: Float64, weight: Tensor, bias: Tensor | undefined, arrays: Arrays = NEW_ARRAYS): Float64 {
  const [batch, features] = x.shape as readonly [number, number];
  const outFeatures = weight.shape[0] ?? 0;
  const matrix = widen(weight.data, arrays);
  const data = arrays.take(batch * outFeatures);
  for (let image = 0; image < batch; image++) {
    for (let out = 0; out < outFeatures; out++) {
      let total = 0;
      for (let i = 0; i < features; i++) total += matrix[out * features + i]! * x.data[image * features + i]!;
      data[image * outFeatures + out] = total + (bias?.data[out] ?? 0);
    }
  }
  if (matrix !== weight.data) arrays.release(matrix);
  return { shape: [batch, outFeatures], data };
}
