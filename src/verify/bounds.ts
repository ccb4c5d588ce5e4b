import { evaluateFloat64 } from '../interpreters/float64.ts';
import { type Magnitude, type MagnitudeOptions, magnitude } from '../interpreters/magnitude.ts';
import { type Arrays, NEW_ARRAYS } from '../interpreters/workspace.ts';
import type { Network } from '../network/ops.ts';
import { gamma, type Precision } from '../network/precision.ts';
import type { Tensor, Weights } from '../network/tensor.ts';

export interface Bound {
  /** Per output element: how far it may be from the exact value. */
  readonly bound: Float64Array;
  /** Whether every bound is a finite number. */
  readonly isBounded: boolean;
  /** K: rounded operations on the longest path. */
  readonly operations: number;
}

/**
 * gamma_K(u) * S per element, infinite where S may overflow; for K = the magnitude's own operations and `extra` ones.
 * @param arrays hold the bound
 */
export function errorBound(
  { sum, operations }: Magnitude,
  { unitRoundoff, largest }: Precision,
  extra = 0,
  arrays: Arrays = NEW_ARRAYS,
): Bound {
  // One operation stands for the bound's own rounding and for that of the float64 value compared with.
  const total = operations + extra + 1;
  const factor = gamma(total, unitRoundoff);
  const sums = sum.data;
  const bound = arrays.take(sums.length);
  let isBounded = factor < Number.POSITIVE_INFINITY;
  for (let i = 0; i < bound.length; i++) {
    const value = sums[i]!;
    if (value <= largest) bound[i] = value * factor;
    else {
      bound[i] = Number.POSITIVE_INFINITY;
      isBounded = false;
    }
  }
  return { bound, isBounded, operations: total };
}

export function magnitudeOptions({ underflow, erf, unitRoundoff }: Precision): MagnitudeOptions {
  return { floor: underflow / unitRoundoff, erfError: erf / unitRoundoff };
}

/** How far an engine with this precision may be from the exact output of the network, fed exactly these inputs. */
export async function runtimeBound(
  network: Network,
  weights: Weights,
  inputs: ReadonlyMap<string, Tensor>,
  precision: Precision,
): Promise<Bound> {
  const values = await evaluateFloat64(network, weights, inputs, { keep: 'all' });
  return errorBound(await magnitude(network, weights, values, magnitudeOptions(precision)), precision);
}
