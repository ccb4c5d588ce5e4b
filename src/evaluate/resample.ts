/**
 * Pillow's resampling of images of 8 bits (`src/libImaging/Resample.c`), to the bit: torchvision's and timm's Resize of a PIL
 * image is this. sharp's own strays by 5 levels and more (docs/evaluate.md).
 *
 * Two passes, horizontal first, each in fixed point: coefficients are rounded to 22 bits behind the point, sums to 8 bits.
 * An output pixel covers `scale` input pixels, so the filter is widened by that where the image shrinks (antialias).
 */
import type { Interpolation } from '../reference/family.ts';

/** An image of 8 bits for each channel, row by row, [H, W, C]. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** 3 for RGB, 1 for greyscale. */
  readonly channels: number;
  readonly data: Uint8Array;
}

export interface Size2d {
  readonly height: number;
  readonly width: number;
}

/** A part of an image, in pixels. */
export interface Box extends Size2d {
  readonly top: number;
  readonly left: number;
}

export const INTERPOLATIONS: readonly Interpolation[] = ['bicubic', 'bilinear'];

interface Filter {
  /** Half of its width, at scale 1. */
  readonly support: number;
  readonly at: (x: number) => number;
}

/** Of Keys' cubic convolution, as Pillow has it: not OpenCV's and PyTorch's -0.75. */
const A = -0.5;

const filters: Readonly<Record<Interpolation, Filter>> = {
  bicubic: {
    support: 2,
    at: (position) => {
      const x = Math.abs(position);
      if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * A : 0;
    },
  },
  bilinear: {
    support: 1,
    at: (position) => Math.max(0, 1 - Math.abs(position)),
  },
};

/** Bits behind the point: 32, less 8 of the pixel, less 2 that overshoots need. */
const PRECISION_BITS = 22;

/** What some output pixels read along one axis. */
interface Coefficients {
  /** First input pixel of each. */
  readonly first: Int32Array;
  /** Input pixels of each. */
  readonly count: Int32Array;
  /** `stride` for each. */
  readonly factors: Int32Array;
  readonly stride: number;
}

/** The coefficients of the output pixels `from` to `from + length`, of an axis that is resized from `input` to `output`. */
function coefficients(
  { support, at }: Filter,
  input: number,
  output: number,
  from: number,
  length: number,
): Coefficients {
  const scale = input / output;
  const filterScale = Math.max(1, scale);
  const reach = support * filterScale;
  const stride = Math.ceil(reach) * 2 + 1;
  const first = new Int32Array(length);
  const count = new Int32Array(length);
  const factors = new Int32Array(length * stride);
  const weights = new Float64Array(stride);
  for (let i = 0; i < length; i++) {
    const centre = (from + i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - reach + 0.5));
    const n = Math.min(input, Math.trunc(centre + reach + 0.5)) - low;
    let total = 0;
    for (let k = 0; k < n; k++) {
      // As Pillow does: times the reciprocal, which rounds otherwise than a division.
      const weight = at((k + low - centre + 0.5) * (1 / filterScale));
      weights[k] = weight;
      total += weight;
    }
    for (let k = 0; k < n; k++) {
      const weight = total === 0 ? weights[k]! : weights[k]! / total;
      factors[i * stride + k] = Math.trunc(weight * 2 ** PRECISION_BITS + (weight < 0 ? -0.5 : 0.5));
    }
    first[i] = low;
    count[i] = n;
  }
  return { first, count, factors, stride };
}

const HALF = 2 ** (PRECISION_BITS - 1);

/** A sum in fixed point, rounded to a level. */
function clip8(sum: number): number {
  const level = sum >> PRECISION_BITS;
  return level < 0 ? 0 : level > 255 ? 255 : level;
}

/**
 * The part `crop` of the image resized to `to`: the same as resizing all of it first, at the cost of the part.
 */
export function resizeAndCrop(image: Pixels, to: Size2d, crop: Box, interpolation: Interpolation): Pixels {
  const filter = filters[interpolation];
  const { channels } = image;
  const across = coefficients(filter, image.width, to.width, crop.left, crop.width);
  const down = coefficients(filter, image.height, to.height, crop.top, crop.height);
  // Rows that the second pass reads.
  const top = down.first[0] ?? 0;
  const last = crop.height - 1;
  const bottom = (down.first[last] ?? 0) + (down.count[last] ?? 0);
  const rowLength = crop.width * channels;
  const rows = new Uint8Array((bottom - top) * rowLength);
  for (let y = top; y < bottom; y++) {
    horizontal(image.data, y * image.width * channels, channels, across, rows, (y - top) * rowLength);
  }
  const data = new Uint8Array(crop.height * rowLength);
  for (let y = 0; y < crop.height; y++) {
    const [start, n, at] = [(down.first[y]! - top) * rowLength, down.count[y]!, y * down.stride];
    for (let x = 0; x < rowLength; x++) {
      let sum = HALF;
      for (let k = 0; k < n; k++) {
        sum = (sum + Math.imul(rows[start + k * rowLength + x]!, down.factors[at + k]!)) | 0;
      }
      data[y * rowLength + x] = clip8(sum);
    }
  }
  return { width: crop.width, height: crop.height, channels, data };
}

function horizontal(
  source: Uint8Array,
  row: number,
  channels: number,
  { first, count, factors, stride }: Coefficients,
  target: Uint8Array,
  out: number,
): void {
  for (let x = 0; x < first.length; x++) {
    const [start, n, at] = [row + first[x]! * channels, count[x]!, x * stride];
    for (let c = 0; c < channels; c++) {
      let sum = HALF;
      for (let k = 0; k < n; k++) {
        sum = (sum + Math.imul(source[start + k * channels + c]!, factors[at + k]!)) | 0;
      }
      target[out + x * channels + c] = clip8(sum);
    }
  }
}
