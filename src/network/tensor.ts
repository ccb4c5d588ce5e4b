/** Dimensions in the PyTorch order: activations [N, C, H, W] or [N, C], conv kernels [O, I/groups, kh, kw], linear [O, I]. */
export type Shape = readonly number[];

export type FloatArray = Float32Array | Float64Array;

/** A dense, row-major tensor. The data is shared, never changed. */
export interface Tensor<D extends FloatArray = FloatArray> {
  readonly shape: Shape;
  readonly data: D;
}

/** From state_dict key to tensor. Read-only: a rewrite returns a new map. */
export type Weights<D extends FloatArray = FloatArray> = ReadonlyMap<string, Tensor<D>>;

/** Number of elements of a tensor of this shape. */
export function elements(shape: Shape): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}

/** `[1, 3, 224, 224]`, for messages. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

function isFloat32(tensor: Tensor): tensor is Tensor<Float32Array> {
  return tensor.data instanceof Float32Array;
}

/** The tensor in float32; each element rounded to nearest even. Shares the data where it is float32 already. */
export function toFloat32(tensor: Tensor): Tensor<Float32Array> {
  return isFloat32(tensor) ? tensor : { shape: tensor.shape, data: new Float32Array(tensor.data) };
}

/** The tensor in float64, exactly. Shares the data where it is float64 already. */
export function toFloat64(tensor: Tensor): Tensor<Float64Array> {
  return {
    shape: tensor.shape,
    data: tensor.data instanceof Float64Array ? tensor.data : new Float64Array(tensor.data),
  };
}

/** The position of a flat index in a tensor, e.g. `[0, 12, 3, 4]`. */
export function position(index: number, shape: readonly number[]): string {
  const axes: number[] = [];
  let rest = index;
  for (const dimension of shape.toReversed()) {
    axes.unshift(rest % dimension);
    rest = Math.floor(rest / dimension);
  }
  return `[${axes.join(', ')}]`;
}
