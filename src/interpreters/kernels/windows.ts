import type { Node, Pair, Role } from '../../network/ops.ts';
import { windowsOf } from '../../network/shapes.ts';
import type { Shape, Tensor } from '../../network/tensor.ts';
import type { MatMul } from '../product.ts';
import { type Arrays, NEW_ARRAYS, widen } from '../workspace.ts';

type Float64 = Tensor<Float64Array>;

/** How maps [N, C, H, W] lie in windows: window [h, w], `parts` windows along each axis, S share-sets. */
export interface Windows {
  readonly images: number;
  readonly channels: number;
  readonly sets: number;
  readonly window: Pair;
  readonly parts: Pair;
}

/** Of a node that cuts maps [N, C, H, W] into windows. */
export function windowsOfMap(node: Node<'partition'> | Node<'windowLinear'>, map: Shape): Windows {
  const [images = 0, channels = 0] = map;
  return { images, channels, sets: node.op.sets, window: node.op.window, parts: windowsOf(node, map).parts };
}

/** Of a node that puts windows [R, S, h, w] back to maps. */
export function windowsOfParts({ op, shape }: Node<'departition'>, [, sets = 0, h = 0, w = 0]: Shape): Windows {
  return { images: shape[0] ?? 0, channels: op.channels, sets, window: [h, w], parts: op.parts };
}

/** Where a row of pixels of one window and channel starts in [N, C, H, W]. */
type RowStart = (image: number, channel: number, windowRow: number, windowColumn: number, row: number) => number;

function rowStart({ channels, window: [h, w], parts: [rows, columns] }: Windows): RowStart {
  const [height, width] = [rows * h, columns * w];
  return (image, channel, windowRow, windowColumn, row) =>
    ((image * channels + channel) * height + windowRow * h + row) * width + windowColumn * w;
}

/**
 * For each row of pixels in the order [R, S, h] of the partition, where it starts in [N, C, H, W]: R runs over (image,
 * window row, window column, channel / S); channel = r * S + s.
 */
export function partitionRows(windows: Windows): Int32Array {
  const { images, channels, window, parts } = windows;
  const start = rowStart(windows);
  const starts = new Int32Array(images * channels * parts[0] * parts[1] * window[0]);
  let to = 0;
  for (let image = 0; image < images; image++) {
    for (let windowRow = 0; windowRow < parts[0]; windowRow++) {
      for (let windowColumn = 0; windowColumn < parts[1]; windowColumn++) {
        for (let channel = 0; channel < channels; channel++) {
          for (let row = 0; row < window[0]; row++) starts[to++] = start(image, channel, windowRow, windowColumn, row);
        }
      }
    }
  }
  return starts;
}

/** The same in the order that departition reads: R runs over (image, channel / S, window row, window column). */
export function departitionRows(windows: Windows): Int32Array {
  const { images, channels, sets, window, parts } = windows;
  const start = rowStart(windows);
  const starts = new Int32Array(images * channels * parts[0] * parts[1] * window[0]);
  let to = 0;
  for (let image = 0; image < images; image++) {
    for (let first = 0; first < channels; first += sets) {
      for (let windowRow = 0; windowRow < parts[0]; windowRow++) {
        for (let windowColumn = 0; windowColumn < parts[1]; windowColumn++) {
          for (let channel = first; channel < first + sets; channel++) {
            for (let row = 0; row < window[0]; row++)
              starts[to++] = start(image, channel, windowRow, windowColumn, row);
          }
        }
      }
    }
  }
  return starts;
}

/** [N, C, H, W] -> [R, S, h, w] */
export function partition(x: Float64, windows: Windows, shape: Shape, arrays: Arrays = NEW_ARRAYS): Float64 {
  const width = windows.window[1];
  const from = x.data;
  const data = arrays.take(from.length);
  const starts = partitionRows(windows);
  for (let row = 0; row < starts.length; row++) {
    const start = starts[row]!;
    const to = row * width;
    for (let i = 0; i < width; i++) data[to + i] = from[start + i]!;
  }
  return { shape, data };
}

/** [R, S, h, w] -> [N, C, H, W] */
export function departition(x: Float64, windows: Windows, shape: Shape, arrays: Arrays = NEW_ARRAYS): Float64 {
  const width = windows.window[1];
  const from = x.data;
  const data = arrays.take(from.length);
  const starts = departitionRows(windows);
  for (let row = 0; row < starts.length; row++) {
    const start = starts[row]!;
    const at = row * width;
    for (let i = 0; i < width; i++) data[start + i] = from[at + i]!;
  }
  return { shape, data };
}

/** The definition, in scatter form with zeros skipped: x [R, S, h, w], weight [S*h*w, h*w, 1, 1], bias [S*h*w]. */
export function setLinearDefinition(x: Float64, weight: Tensor, bias: Tensor | undefined): Float64 {
  const [r, s, h, w] = x.shape as readonly [number, number, number, number];
  const pixels = h * w;
  const data = new Float64Array(x.data.length);
  for (let row = 0; row < r; row++) {
    if (bias !== undefined) data.set(bias.data, row * s * pixels);
    for (let set = 0; set < s; set++) {
      const from = (row * s + set) * pixels;
      for (let i = 0; i < pixels; i++) {
        const value = x.data[from + i]!;
        if (value === 0) continue;
        for (let o = 0; o < pixels; o++) data[from + o]! += value * weight.data[(set * pixels + o) * pixels + i]!;
      }
    }
  }
  return { shape: x.shape, data };
}

/** [rows, columns] -> [columns, rows] */
function transposed(x: Float64Array, rows: number, columns: number, arrays: Arrays): Float64Array {
  const y = arrays.take(x.length);
  for (let row = 0; row < rows; row++) {
    const from = row * columns;
    for (let column = 0; column < columns; column++) y[column * rows + row] = x[from + column]!;
  }
  return y;
}

/** The same as one matrix product per share-set: [S, h*w, h*w] times [S, h*w, R]. */
export async function setLinearFast(
  x: Float64,
  weight: Tensor,
  bias: Tensor | undefined,
  matmul: MatMul,
  arrays: Arrays = NEW_ARRAYS,
): Promise<Float64> {
  const [r, s, h, w] = x.shape as readonly [number, number, number, number];
  const pixels = h * w;
  const columns = transposed(x.data, r, s * pixels, arrays); // [S, h*w, R]
  const matrix = widen(weight.data, arrays);
  const product = await matmul(
    { shape: [s, pixels, pixels], data: matrix },
    { shape: [1, s, pixels, r], data: columns },
    arrays,
  );
  if (matrix !== weight.data) arrays.release(matrix);
  arrays.release(columns);
  const data = transposed(product.data, s * pixels, r, arrays); // [R, S, h*w]
  arrays.release(product.data);
  const y = { shape: x.shape, data };
  addSetBias(y, bias);
  return y;
}

/** The constants behind the product of an affine windowLinear. */
export interface WindowAffine {
  readonly scale: Tensor;
  readonly shift: Tensor;
  readonly rowSum: Tensor;
}

/** On windows [R, S, h, w] of channels c = r * S + s, in place: scale[c] * x + shift[c] * row_sum[s, y, x]. */
function applyWindowAffine({ shape, data }: Float64, channels: number, { scale, shift, rowSum }: WindowAffine): void {
  const [, s, h, w] = shape as readonly [number, number, number, number];
  const pixels = h * w;
  for (let map = 0; map < data.length / pixels; map++) {
    // Maps lie in the order (image, window, channel), so the channel is their index modulo C.
    const a = scale.data[map % channels]!;
    const b = shift.data[map % channels]!;
    const sums = (map % s) * pixels;
    const from = map * pixels;
    for (let i = 0; i < pixels; i++) data[from + i] = a * data[from + i]! + b * rowSum.data[sums + i]!;
  }
}

/** Adds bias [S*h*w] to every row of [R, S, h, w], in place. */
function addSetBias({ data }: Float64, bias: Tensor | undefined): void {
  if (bias === undefined) return;
  const { length } = bias.data;
  for (let row = 0; row < data.length; row += length) {
    for (let i = 0; i < length; i++) data[row + i]! += bias.data[i]!;
  }
}

/** What a windowLinear reads besides its input; see {@link windowLinearWeights}. */
export interface WindowLinearWeights {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  readonly affine: WindowAffine | undefined;
}

/** @param tensor the node's weight of a role, as the interpreter sees it */
export function windowLinearWeights({ op }: Node<'windowLinear'>, tensor: (role: Role) => Tensor): WindowLinearWeights {
  return {
    weight: tensor('weight'),
    bias: op.bias ? tensor('bias') : undefined,
    affine: op.affine ? { scale: tensor('scale'), shift: tensor('shift'), rowSum: tensor('row_sum') } : undefined,
  };
}

/** partition, product, constants, departition: [N, C, H, W] -> [N, C, H, W]. */
export async function windowLinear(
  x: Float64,
  windows: Windows,
  { weight, bias, affine }: WindowLinearWeights,
  product: (windows: Float64, weight: Tensor) => Float64 | Promise<Float64>,
  arrays: Arrays = NEW_ARRAYS,
): Promise<Float64> {
  const { channels, sets, window } = windows;
  const cut = partition(x, windows, [x.data.length / (sets * window[0] * window[1]), sets, ...window], arrays);
  const linear = await product(cut, weight);
  arrays.release(cut.data);
  if (affine !== undefined) applyWindowAffine(linear, channels, affine);
  addSetBias(linear, bias);
  const y = departition(linear, windows, x.shape, arrays);
  arrays.release(linear.data);
  return y;
}
