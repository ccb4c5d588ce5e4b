/** What the tests of the goldens share: where the files are, and how far our values stand from theirs. */
import { fileURLToPath } from 'node:url';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import type { Network } from '../src/network/ops.ts';
import { formatShape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { buildNetwork, loadConfig } from '../src/reference/config.ts';
import { randomInput } from '../src/weights/random.ts';
import { readSafetensors } from '../src/weights/safetensors.ts';

/**
 * Largest |ours - PyTorch's| over the largest |PyTorch's|. Both are float64: u = 2^-53 = 1.1e-16, sums of 10 to 1e4 terms
 * with errors that grow as their root, over about 100 layers, whose gains stay below 10; so 1e-16 * 100 * 100 * 10.
 */
export const FLOAT64_AGREEMENT = 1e-11;

/** Absolute path of a file, given from this folder. */
export function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

/** Tensors of a golden file, given from this folder. */
export function readGolden(file: string): Promise<Weights> {
  return readSafetensors(pathOf(file));
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
export function inputOf(network: Network, seed: number): Tensor<Float32Array> {
  return randomInput(network.nodes[0]?.shape ?? [], seed);
}

export async function logitsOf(network: Network, weights: Weights, input: Tensor): Promise<Tensor | undefined> {
  const values = await evaluateFloat64(network, weights, new Map([['input', input]]));
  return values.get(network.output);
}

/** An example checkpoint: its network on its input's size, weights, input and float64 logits. */
export async function readExample(name: string) {
  const [config, weights, inputs, golden] = await Promise.all([
    loadConfig(pathOf(`examples/${name}.json`)),
    readGolden(`examples/${name}.weights.safetensors`),
    readGolden(`examples/${name}.input.safetensors`),
    readGolden(`examples/${name}.logits.safetensors`),
  ]);
  const input = inputs.get('input');
  if (input === undefined) throw new Error(`${name} has no input`);
  const [batch = 0, , height = 0, width = 0] = input.shape;
  return { network: buildNetwork(config, { batch, height, width }, name), weights, input, golden };
}
