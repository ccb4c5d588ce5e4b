import { elements, type FloatArray, type Shape, type Tensor } from '../../network/tensor.ts';

type Float64 = Tensor<Float64Array>;

/** f of every element. */
export function map(x: Float64, f: (value: number) => number): Float64 {
  const data = new Float64Array(x.data.length);
  for (let i = 0; i < data.length; i++) data[i] = f(x.data[i]!);
  return { shape: x.shape, data };
}

/** factor[c] * x + shift[c] on axis 1 of [N, C, ...]. */
export function affinePerChannel(x: Float64, factor: FloatArray, shift: FloatArray): Float64 {
  const channels = x.shape[1] ?? 1;
  const area = elements(x.shape.slice(2));
  const data = new Float64Array(x.data.length);
  for (let start = 0, map = 0; start < data.length; start += area, map++) {
    const f = factor[map % channels]!;
    const s = shift[map % channels]!;
    for (let i = start; i < start + area; i++) data[i] = x.data[i]! * f + s;
  }
  return { shape: x.shape, data };
}

/** Sum of tensors of one shape, left to right. */
export function sum(tensors: readonly Float64[]): Float64 {
  const first = tensors[0]!;
  const data = new Float64Array(first.data);
  for (const { data: term } of tensors.slice(1)) {
    for (let i = 0; i < data.length; i++) data[i]! += term[i]!;
  }
  return { shape: first.shape, data };
}

/** x [N, C, H, W] times gate [N, C, 1, 1]. */
export function gateProduct(x: Float64, gate: Float64): Float64 {
  const area = elements(x.shape.slice(2));
  const data = new Float64Array(x.data.length);
  for (let i = 0; i < data.length; i++) data[i] = x.data[i]! * gate.data[Math.floor(i / area)]!;
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
export function linear(x: Float64, weight: Tensor, bias: Tensor | undefined): Float64 {
  const [batch, features] = x.shape as readonly [number, number];
  const outFeatures = weight.shape[0] ?? 0;
  const data = new Float64Array(batch * outFeatures);
  for (let image = 0; image < batch; image++) {
    for (let out = 0; out < outFeatures; out++) {
      let total = 0;
      for (let i = 0; i < features; i++) total += weight.data[out * features + i]! * x.data[image * features + i]!;
      data[image * outFeatures + out] = total + (bias?.data[out] ?? 0);
    }
  }
  return { shape: [batch, outFeatures], data };
}
