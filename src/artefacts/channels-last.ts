import type { Pair } from '../network/ops.ts';
import type { FloatArray } from '../network/tensor.ts';

/** From PyTorch's [O, I, kh, kw] to TensorFlow's [kh, kw, I, O], rounded to float32. */
export function transposedFilter(
  weight: FloatArray,
  outChannels: number,
  inChannels: number,
  [height, width]: Pair,
): Float32Array {
  const taps = height * width;
  const filter = new Float32Array(weight.length);
  let to = 0;
  for (let tap = 0; tap < taps; tap++) {
    for (let i = 0; i < inChannels; i++) {
      for (let o = 0; o < outChannels; o++) filter[to++] = weight[(o * inChannels + i) * taps + tap]!;
    }
  }
  return filter;
}

/** From TensorFlow's [kh, kw, I, O] back to PyTorch's [O, I, kh, kw]. */
export function originalWeight(
  filter: Float32Array,
  outChannels: number,
  inChannels: number,
  [height, width]: Pair,
): Float32Array {
  const taps = height * width;
  const weight = new Float32Array(filter.length);
  let from = 0;
  for (let tap = 0; tap < taps; tap++) {
    for (let i = 0; i < inChannels; i++) {
      for (let o = 0; o < outChannels; o++) weight[(o * inChannels + i) * taps + tap] = filter[from++]!;
    }
  }
  return weight;
}
