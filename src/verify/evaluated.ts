import { evaluateFloat64 } from '../interpreters/float64.ts';
import { type Magnitude, magnitude, valuesNeeded } from '../interpreters/magnitude.ts';
import { type Arrays, Workspace } from '../interpreters/workspace.ts';
import type { Network } from '../network/ops.ts';
import type { Precision } from '../network/precision.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { magnitudeOptions } from './bounds.ts';

/** Values that float32 holds exactly, by the name of the node that they are fed to. */
export type Values = ReadonlyMap<string, Tensor>;

/** The network's float64 output, in one of these arrays; by default in one that nobody else uses. */
export async function outputOf(
  network: Network,
  weights: Weights,
  inputs: Values,
  arrays: Arrays = new Workspace(),
): Promise<Tensor<Float64Array>> {
  return (await evaluateFloat64(network, weights, inputs, { arrays })).get(network.output)!;
}

/** A small network on its inputs: its float64 values, and its magnitudes, each computed once. */
export class Evaluated {
  readonly network: Network;
  readonly weights: Weights;
  readonly inputs: Values;
  readonly #arrays: Arrays;
  readonly #values: ReadonlyMap<string, Tensor<Float64Array>>;
  readonly #magnitudes = new Map<number, Promise<Magnitude>>();

  private constructor(
    network: Network,
    weights: Weights,
    inputs: Values,
    arrays: Arrays,
    values: ReadonlyMap<string, Tensor<Float64Array>>,
  ) {
    this.network = network;
    this.weights = weights;
    this.inputs = inputs;
    this.#arrays = arrays;
    this.#values = values;
  }

  /** @param arrays hold its values and magnitudes */
  static async of(
    network: Network,
    weights: Weights,
    inputs: Values,
    arrays: Arrays = new Workspace(),
  ): Promise<Evaluated> {
    const options = { keep: valuesNeeded(network), arrays };
    return new Evaluated(network, weights, inputs, arrays, await evaluateFloat64(network, weights, inputs, options));
  }

  get output(): Tensor<Float64Array> {
    return this.#values.get(this.network.output)!;
  }

  /** Shared by all precisions that see the same S: of affine pieces, by all. */
  magnitude(floor: number, precision: Precision): Promise<Magnitude> {
    // Only GELU looks at the engine's erf.
    const looksAtErf = this.network.nodes.some(({ op }) => op.kind === 'gelu');
    const { erfError } = magnitudeOptions(precision);
    const options = { floor, erfError: looksAtErf ? erfError : 0, arrays: this.#arrays };
    const known = this.#magnitudes.get(options.erfError);
    if (known !== undefined) return known;
    const computed = magnitude(this.network, this.weights, this.#values, options);
    this.#magnitudes.set(options.erfError, computed);
    return computed;
  }
}
