import type { Fraction } from 'mathjs';
import { weightShapesByKey } from '../network/graph.ts';
import { isKind, type Network, type Role } from '../network/ops.ts';
import { elements, type Shape } from '../network/tensor.ts';
import { randomInput } from './random.ts';

/** A tensor of exact fractions. */
export interface Fractions {
  readonly shape: Shape;
  readonly data: readonly Fraction[];
}

/** Makes a fraction of a constant, as the decimal that it is written as. */
type FractionOf = (value: number) => Fraction;

/** Roots of a batch norm's running_var + eps: p/q with p a power of two, so that what is divided by them stays short. */
const ROOTS: readonly Readonly<[p: number, q: number]>[] = [
  [1, 2],
  [2, 3],
  [1, 1],
  [4, 3],
  [2, 1],
  [1, 3],
];

/** A multiple of 1/steps within (-limit, limit), never 0. */
function fraction(u: number, limit: number, steps: number): number {
  return (Math.sign(u) * Math.ceil(Math.abs(u) * limit * steps)) / steps;
}

/** A tensor whose values are made of numbers uniform in (-1, 1), never 0. */
function generate(shape: Shape, seed: number, name: string, value: (u: number) => Fraction): Fractions {
  return { shape, data: Array.from(randomInput(shape, seed, name).data, (x) => value(x / Math.sqrt(3))) };
}

function batchNormValue(role: Role, u: number, eps: number, of: FractionOf): Fraction {
  if (role === 'weight') return of(fraction(u, 1, 8));
  if (role !== 'running_var') return of(fraction(u, 0.5, 16));
  const [p, q] = ROOTS[Math.floor(((u + 1) / 2) * ROOTS.length)]!;
  return of(p * p)
    .div(of(q * q))
    .sub(of(eps));
}

/**
 * Weights in short fractions for every key of the network: nothing is zero, everything but a running_var has both signs,
 * and each running_var + eps, eps taken as the decimal that it is written as, is the square of a fraction. Activations
 * keep their scale, roughly.
 * @param seed whole number from 0 to 2^32 - 1
 * @param of makes a fraction of a decimal
 * @throws InputError where the seed is out of range
 */
export function rationalWeights(network: Network, seed: number, of: FractionOf): ReadonlyMap<string, Fractions> {
  const shapes = weightShapesByKey(network);
  const weights = new Map<string, Fractions>();
  for (const node of network.nodes) {
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) {
      const shape = shapes.get(key)!;
      const scale = role === 'weight' ? 2 ** -Math.round(Math.log2(elements(shape.slice(1))) / 2) : 1;
      const value = isKind(node, 'batchNorm')
        ? (u: number) => batchNormValue(role, u, node.op.eps, of)
        : (u: number) => of(fraction(u, 2, 16) * scale);
      weights.set(key, generate(shape, seed, key, value));
    }
  }
  return weights;
}

/**
 * A tensor of short fractions of both signs, none of them zero: of so many that a difference between two affine maps
 * hardly ever vanishes on it.
 * @throws InputError where the seed is out of range
 */
export function rationalInput(shape: Shape, seed: number, name: string, of: FractionOf): Fractions {
  return generate(shape, seed, name, (u) => of(fraction(u, 2, 2 ** 10)));
}
