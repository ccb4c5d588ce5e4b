import type { Node, Role } from '../network/ops.ts';
import type { FloatArray } from '../network/tensor.ts';

/**
 * What an affine windowLinear adds to the scaled product of each window: shift[c] * row_sum + bias, computed in float64
 * and rounded once.
 * @param weight the node's weight of a role
 * @param layout the order of the result: [C, h*w] or [h*w, C]
 */
export function windowOffset(
  { op, shape }: Node<'windowLinear'>,
  weight: (role: Role) => FloatArray,
  layout: 'channels first' | 'channels last',
): Float32Array {
  const channels = shape[1] ?? 0;
  const pixels = op.window[0] * op.window[1];
  const [shift, rowSum] = [weight('shift'), weight('row_sum')];
  const bias = op.bias ? weight('bias') : undefined;
  const [stepC, stepPixel] = layout === 'channels first' ? [pixels, 1] : [1, channels];
  const offset = new Float32Array(channels * pixels);
  for (let c = 0; c < channels; c++) {
    const rows = (c % op.sets) * pixels; // the share-set is the fast axis of the channels
    for (let pixel = 0; pixel < pixels; pixel++) {
      offset[c * stepC + pixel * stepPixel] = shift[c]! * rowSum[rows + pixel]! + (bias?.[rows + pixel] ?? 0);
    }
  }
  return offset;
}
