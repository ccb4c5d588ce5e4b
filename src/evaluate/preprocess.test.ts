/** Against what timm's transform makes of the same files (`golden/oracle/make_images.py`). */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Interpolation } from '../reference/family.ts';
import { openDecoder } from './decode.ts';
import { completePreprocessing, fitToInput, normalise, resizedSize } from './preprocess.ts';
import type { Pixels } from './resample.ts';

const FOLDER = resolve(import.meta.dirname, '../../properties/images');

/** Levels that decoders may be apart: libjpeg's and libwebp's versions may round an inverse transform otherwise. */
const DECODERS = 1;

interface Golden {
  readonly image: string;
  readonly mode: string;
  readonly size: readonly [number, number];
  readonly crop_pct: number;
  readonly interpolation: Interpolation;
  readonly crop: string;
  readonly normalised_sha256: string;
}

const { cases } = JSON.parse(await readFile(resolve(FOLDER, 'images.json'), 'utf8')) as { cases: readonly Golden[] };
const decoder = await openDecoder().catch((error: Error) => error);
if (decoder instanceof Error) process.stdout.write(`preprocess: goldens are skipped: ${decoder.message}\n`);

async function read(name: string, channels = 3): Promise<Pixels> {
  if (decoder instanceof Error) throw decoder;
  return (await decoder.open(resolve(FOLDER, name))).decode(channels);
}

function furthest(actual: Pixels, expected: Pixels): number {
  expect(actual.data).toHaveLength(expected.data.length);
  expect(actual.data.length).toBeGreaterThan(0);
  return actual.data.reduce((most, level, i) => Math.max(most, Math.abs(level - expected.data[i]!)), 0);
}

describe.skipIf(decoder instanceof Error)('as timm has it', () => {
  test('there is each of the formats and modes', () => {
    const modes = new Set(cases.map(({ mode }) => mode));
    expect([...modes].sort()).toEqual(['1', 'CMYK', 'I;16', 'L', 'LA', 'P', 'RGB', 'RGBA']);
  });

  test.each(cases)('$image, $mode, to $size, $interpolation $crop_pct', async (golden) => {
    const [height, width] = golden.size;
    const { crop_pct: cropPct, interpolation } = golden;
    const preprocessing = completePreprocessing('repvit', 3, { cropPct, interpolation });
    const crop = await read(golden.crop);
    const image = await read(golden.image);
    expect(furthest(fitToInput(image, { height, width }, preprocessing), crop)).toBeLessThanOrEqual(DECODERS);
    const input = new Float32Array(3 * height * width);
    normalise(crop, preprocessing, input);
    const sha256 = createHash('sha256').update(new Uint8Array(input.buffer)).digest('hex');
    expect(sha256, 'normalised, to the bit').toBe(golden.normalised_sha256);
  });

  test('another filter, crop or orientation is more than that off', async () => {
    const golden = cases.find(({ image }) => image === 'turned_420.jpg')!;
    const crop = await read(golden.crop);
    const image = await read(golden.image);
    const size = { height: golden.size[0], width: golden.size[1] };
    const right = completePreprocessing('repvit', 3);
    expect(furthest(fitToInput(image, size, right), crop)).toBeLessThanOrEqual(DECODERS);
    const turned = { ...image, width: image.height, height: image.width };
    expect(furthest(fitToInput(turned, size, right), crop)).toBeGreaterThan(DECODERS);
    for (const planted of [{ interpolation: 'bilinear' as const }, { cropPct: 0.94 }]) {
      expect(furthest(fitToInput(image, size, { ...right, ...planted }), crop)).toBeGreaterThan(DECODERS);
    }
  });

  test('greyscale stays what it is, and colours are weighed as PIL weighs them', async () => {
    const [grey, rgb] = [await read('grey.jpg', 1), await read('grey.jpg')];
    expect(grey.data).toHaveLength(140 * 140);
    expect(grey.data.every((level, i) => level === rgb.data[3 * i])).toBe(true);
    const [luma, colour] = [await read('small.png', 1), await read('small.png')];
    const exact = luma.data.map((_, i) =>
      Math.round(0.299 * colour.data[3 * i]! + 0.587 * colour.data[3 * i + 1]! + 0.114 * colour.data[3 * i + 2]!),
    );
    // Its weights are cut to 16 bits.
    expect(furthest(luma, { ...luma, data: exact })).toBeLessThanOrEqual(1);
  });
});

test('sizes are rounded as torchvision and timm round them', () => {
  const square = { height: 224, width: 224 };
  // Resize(235) of 500x375: int(235 * 500 / 375)
  expect(resizedSize({ width: 500, height: 375 }, square, 0.95)).toEqual({ width: 313, height: 235 });
  expect(resizedSize({ width: 375, height: 500 }, square, 0.875)).toEqual({ width: 256, height: 341 });
  expect(resizedSize({ width: 1, height: 70_000 }, square, 1)).toEqual({ width: 224, height: 15_680_000 });
});

test('a very long image costs no more than the part that is seen', () => {
  const image = { width: 20_000, height: 1, channels: 1, data: new Uint8Array(20_000).fill(7) };
  const preprocessing = completePreprocessing('repvit', 1, { mean: [0], std: [1] });
  const { data } = fitToInput(image, { height: 64, width: 64 }, preprocessing);
  expect(data).toHaveLength(64 * 64);
  expect(data.every((level) => level === 7)).toBe(true);
});

test.each([
  [{ cropPct: 0 }, /crop-pct 0; more than 0 and at most 1/],
  [{ cropPct: 1.5 }, /crop-pct 1.5/],
  [{ std: [0.2, 0, 0.2] }, /std 0; a number above 0/],
  [{ mean: [1, 2] }, /mean has 2 values, but the network takes 3 channels/],
  [{ mean: [Number.NaN] }, /mean NaN/],
])('%o is refused', (given, says) => {
  expect(() => completePreprocessing('repvit', 3, given)).toThrow(says);
});

test('a network of one channel needs its own mean', () => {
  expect(() => completePreprocessing('repmlpnet', 1)).toThrow(
    /mean has 3 values, but the network takes 1 channel; give/,
  );
});
