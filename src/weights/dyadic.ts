import { weightShapesByKey } from '../network/graph.ts';
import { isKind, type Network, type Role } from '../network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { randomInput } from './random.ts';

/** eps of a batch norm whose running_var + eps is to be a power of four: float32 holds 4^k - 2^-17. */
export const DYADIC_EPS = 2 ** -17;

/** Values repeat after so many: a prime, so that no row, channel or kernel does. */
const PERIOD = 65521;

/** A tensor whose values are made of numbers uniform in (-1, 1), never 0. */
function generate(shape: Shape, seed: number, name: string, value: (u: number) => number): Tensor<Float32Array> {
  const data = new Float32Array(elements(shape));
  const first = randomInput([Math.min(data.length, PERIOD)], seed, name).data;
  for (let i = 0; i < first.length; i++) data[i] = value(first[i]! / Math.sqrt(3));
  for (let done = first.length; done < data.length; done *= 2) data.copyWithin(done, 0, done);
  return { shape, data };
}

/** A whole number from -limit to limit, never 0. */
function whole(u: number, limit: number): number {
  return Math.sign(u) * Math.ceil(Math.abs(u) * limit);
}

/** One of -1, 0 and 1. */
function third(u: number): number {
  return Math.floor(((u + 1) / 2) * 3) - 1;
}

function batchNormValue(role: Role, u: number): number {
  if (role === 'weight') return Math.sign(u) * 2 ** third(2 * Math.abs(u) - 1);
  if (role === 'running_var') return 4 ** third(u) - DYADIC_EPS;
  return whole(u, 2);
}

/**
 * Weights for every key of the network on which float32 does not round, whatever the order of summation: small whole
 * numbers; for batch norms of {@link DYADIC_EPS} gamma a power of two of either sign and running_var + eps a power of four.
 * @param seed whole number from 0 to 2^32 - 1
 * @throws InputError where the seed is out of range
 */
export function dyadicWeights(network: Network, seed: number): Weights<Float32Array> {
  const shapes = weightShapesByKey(network);
  const weights = new Map<string, Tensor<Float32Array>>();
  for (const node of network.nodes) {
    const isNorm = isKind(node, 'batchNorm');
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) {
      const value = isNorm ? (u: number) => batchNormValue(role, u) : (u: number) => whole(u, 2);
      weights.set(key, generate(shapes.get(key)!, seed, key, value));
    }
  }
  return weights;
}

/**
 * Small whole numbers of both signs, none of them zero.
 * @throws InputError where the seed is out of range
 */
export function dyadicInput(shape: Shape, seed: number, name: string): Tensor<Float32Array> {
  return generate(shape, seed, name, (u) => whole(u, 2));
}
