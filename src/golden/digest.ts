import { elements, type Tensor } from '../network/tensor.ts';

/** A map of the train form of at most so many elements is kept whole. These four are those of golden/oracle/goldens.py. */
const WHOLE = 2048;
/** Elements that are kept of a larger one. */
const SAMPLES = 64;
/** Prime, so that they do not fall into one row or channel. */
const SAMPLE_STEP = 1000003;
/** Rows and columns of the map of block sums, at most. */
const BLOCKS = 16;

/** Parts of a digest, and what their elements are. */
export type Part = '' | '.sample' | '.channels' | '.blocks' | '.squares';

/**
 * What a golden keeps of a map [N, C, H, W]: all of it under '', or elements at fixed places (`sample`), sums over each
 * channel (`channels`, [N, C]), over all channels of a block of pixels (`blocks`, [N, rows, columns]: the map as a picture)
 * and of the squares (`squares`, [N]).
 */
export function digest(map: Tensor, form: 'train' | 'deploy'): ReadonlyMap<Part, Tensor> {
  const { shape, data } = map;
  if (form === 'train' && data.length <= WHOLE) return new Map([['', map]]);
  const [images = 1, channels = 1, height = 1, width = 1] = shape;
  const [tall, wide] = [Math.ceil(height / BLOCKS), Math.ceil(width / BLOCKS)];
  const [rows, columns] = [Math.ceil(height / tall), Math.ceil(width / wide)];
  const zeros = (...dimensions: number[]) => ({ shape: dimensions, data: new Float64Array(elements(dimensions)) });
  const sums = zeros(images, channels);
  const blocks = zeros(images, rows, columns);
  const squares = zeros(images);
  let index = 0;
  for (let image = 0; image < images; image++) {
    for (let channel = 0; channel < channels; channel++) {
      let sum = 0;
      for (let y = 0; y < height; y++) {
        const row = (image * rows + Math.floor(y / tall)) * columns;
        for (let x = 0; x < width; x++) {
          const value = data[index++]!;
          sum += value;
          blocks.data[row + Math.floor(x / wide)]! += value;
          squares.data[image]! += value * value;
        }
      }
      sums.data[image * channels + channel] = sum;
    }
  }
  const sample = Float64Array.from({ length: SAMPLES }, (_, place) => data[(place * SAMPLE_STEP) % data.length]!);
  return new Map<Part, Tensor>([
    ['.sample', { shape: [SAMPLES], data: sample }],
    ['.channels', sums],
    ['.blocks', blocks],
    ['.squares', squares],
  ]);
}
