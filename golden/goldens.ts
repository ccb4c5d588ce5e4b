/** What the tests of the goldens share: where the files are, and how far our values stand from theirs. */
import { fileURLToPath } from 'node:url';
import { type Golden, isGolden, readManifest } from '../src/golden/manifest.ts';
import type { Network } from '../src/network/ops.ts';
import { formatShape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { buildNetwork } from '../src/reference/config.ts';
import { randomInput } from '../src/weights/random.ts';
import { readSafetensors } from '../src/weights/safetensors.ts';

export { FLOAT64_AGREEMENT } from '../src/golden/check.ts';

/** This folder. */
export const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** Absolute path of a file, given from this folder. */
export function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

/** Tensors of a golden file, given from this folder. */
export function readGolden(file: string): Promise<Weights> {
  return readSafetensors(pathOf(file));
}

export const manifest = await readManifest(FOLDER);

/** Every file that holds what networks compute. */
export const goldens: readonly Golden[] = manifest.goldens.filter(isGolden);

export function goldenNamed(name: string): Golden {
  const found = goldens.find((golden) => golden.name === name);
  if (found === undefined) throw new Error(`no golden is named ${name}`);
  return found;
}

/** The train form that a golden is of, on its input's size. */
export function networkOf({ name, config, input }: Golden): Network {
  return buildNetwork(config, input, name);
}

/** Names of the goldens whose file `NAME.suffix` is listed. */
export function namesWith(suffix: string, family: string): readonly string[] {
  const names = manifest.goldens.flatMap(({ name }) => (name.endsWith(suffix) ? [name.slice(0, -suffix.length)] : []));
  return names.filter((name) => goldenNamed(name).config.family === family);
}

/**
 * Number of elements compared, and the largest error relative to the largest expected value.
 * @throws Error where a tensor is missing or the shapes differ
 */
export function disagreement(
  actual: Tensor | undefined,
  expected: Tensor | undefined,
): { readonly compared: number; readonly relative: number } {
  if (actual === undefined || expected === undefined) throw new Error('a tensor to compare is missing');
  if (formatShape(actual.shape) !== formatShape(expected.shape)) {
    throw new Error(`shape ${formatShape(actual.shape)}, the golden's is ${formatShape(expected.shape)}`);
  }
  let error = 0;
  let largest = 0;
  for (let i = 0; i < expected.data.length; i++) {
    error = Math.max(error, Math.abs(actual.data[i]! - expected.data[i]!));
    largest = Math.max(largest, Math.abs(expected.data[i]!));
  }
  return { compared: actual.data.length, relative: error / largest };
}

/** The portable input of a golden. */
export function inputOf(network: Network, seed: number | undefined): Tensor<Float32Array> {
  return randomInput(network.nodes[0]?.shape ?? [], seed ?? Number.NaN);
}

/** Beyond so many pixels a golden takes seconds. */
const SMALL = 64 * 128;

/** Whether a golden is of a network as large as it was published. */
export function isFullSize({ input }: Golden): boolean {
  return input.height * input.width > SMALL;
}
