/** timm's evaluation transform: resize, centre crop, normalise. To the bit, given the same decoded pixels. */
import { InputError } from '../network/errors.ts';
import { families, type ModelConfig } from '../reference/families.ts';
import { IMAGENET, type Preprocessing } from '../reference/family.ts';
import { type Box, type Pixels, resizeAndCrop, type Size2d } from './resample.ts';

/** What an ONNX file, which names no family, is evaluated with: timm's default for a model that says nothing. */
const UNKNOWN: Preprocessing = { cropPct: 0.875, interpolation: 'bicubic', ...IMAGENET };

/**
 * What is given, and for the rest what the family's accuracies were published with.
 * @param channels of the network's input
 * @throws InputError where a value is out of range, or there are not as many means as channels
 */
export function completePreprocessing(
  family: ModelConfig['family'] | undefined,
  channels: number,
  given: Partial<Preprocessing> = {},
): Preprocessing {
  const { cropPct, interpolation, mean, std } = {
    ...(family === undefined ? UNKNOWN : families[family].preprocessing),
    ...given,
  };
  if (!(cropPct > 0 && cropPct <= 1)) {
    throw new InputError(`crop-pct ${cropPct}; more than 0 and at most 1 is needed`);
  }
  for (const [name, values] of [
    ['mean', mean],
    ['std', std],
  ] as const) {
    if (values.length !== channels && values.length !== 1) {
      throw new InputError(
        `${name} has ${values.length} values, but the network takes ${channels} channel${channels === 1 ? '' : 's'}; give --mean and --std, one for each`,
      );
    }
    const bad = values.find((value) => !Number.isFinite(value) || (name === 'std' && value <= 0));
    if (bad !== undefined)
      throw new InputError(`${name} ${bad}; a number${name === 'std' ? ' above 0' : ''} is needed`);
  }
  const each = (values: readonly number[]) => (values.length === channels ? values : Array(channels).fill(values[0]));
  return { cropPct, interpolation, mean: each(mean), std: each(std) };
}

/** Python's round(): halves to even. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor + (floor % 2);
  return rest < 0.5 ? floor : floor + 1;
}

/** What an image is resized to before the crop, so that its shorter side (of an oblong input, the nearer one) fits. */
export function resizedSize(image: Size2d, input: Size2d, cropPct: number): Size2d {
  const height = Math.floor(input.height / cropPct);
  const width = Math.floor(input.width / cropPct);
  if (height === width) {
    // torchvision's Resize(int): the longer side is cut to a whole number.
    const long = (a: number, b: number) => Math.trunc((height * a) / b);
    return image.width <= image.height
      ? { width, height: long(image.height, image.width) }
      : { width: long(image.width, image.height), height };
  }
  // timm's ResizeKeepRatio.
  const factor = 1 / Math.min(image.height / height, image.width / width);
  return { height: roundHalfEven(image.height * factor), width: roundHalfEven(image.width * factor) };
}

/** torchvision's CenterCrop. */
function centreCrop(image: Size2d, { height, width }: Size2d): Box {
  return {
    top: roundHalfEven((image.height - height) / 2),
    left: roundHalfEven((image.width - width) / 2),
    height,
    width,
  };
}

/** Resizes and crops; levels from 0 to 255. */
export function fitToInput(image: Pixels, input: Size2d, { cropPct, interpolation }: Preprocessing): Pixels {
  const to = resizedSize(image, input, cropPct);
  return resizeAndCrop(image, to, centreCrop(to, input), interpolation);
}

/** Writes the image, normalised, as [C, H, W] from `offset` on; each step rounded to float32, as ToTensor and Normalize do. */
export function normalise(
  { data, channels, width, height }: Pixels,
  { mean, std }: Preprocessing,
  target: Float32Array,
  offset = 0,
): void {
  const size = width * height;
  for (let c = 0; c < channels; c++) {
    const [centre, scale] = [Math.fround(mean[c]!), Math.fround(std[c]!)];
    const levels = Float32Array.from({ length: 256 }, (_, level) => {
      return Math.fround(Math.fround(level / 255) - centre) / scale;
    });
    for (let i = 0; i < size; i++) target[offset + c * size + i] = levels[data[i * channels + c]!]!;
  }
}
