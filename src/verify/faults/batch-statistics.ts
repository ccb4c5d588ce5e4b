import type { Tensor } from '../../network/tensor.ts';

/** What a batch norm computes of its input in training mode. */
export interface Statistics {
  readonly mean: Float64Array;
  /** Over the batch, divided by its size. */
  readonly variance: Float64Array;
  /** Values of each channel. */
  readonly count: number;
}

/** Of the channels of [N, C, ...]. */
export function statisticsOf({ shape: [batch = 1, channels = 1], data }: Tensor): Statistics {
  const pixels = data.length / (batch * channels);
  const count = batch * pixels;
  const sums = [new Float64Array(channels), new Float64Array(channels)] as const;
  const channelOf = (i: number) => Math.floor(i / pixels) % channels;
  for (let i = 0; i < data.length; i++) sums[0][channelOf(i)]! += data[i]! / count;
  for (let i = 0; i < data.length; i++) sums[1][channelOf(i)]! += (data[i]! - sums[0][channelOf(i)]!) ** 2 / count;
  return { mean: sums[0], variance: sums[1], count };
}
