import type { Network, Node } from '../network/ops.ts';
import { type Tensor, toFloat64, type Weights } from '../network/tensor.ts';
import { conv2dFast } from './kernels/conv2d.ts';
import { affinePerChannel, gateProduct, linear, map, spatialMean, sum } from './kernels/elementwise.ts';
import { gelu } from './kernels/gelu.ts';
import {
  departition,
  partition,
  setLinearFast,
  windowLinear,
  windowLinearWeights,
  windowsOfMap,
  windowsOfParts,
} from './kernels/windows.ts';
import { openMatMul } from './product.ts';
import { type EvaluationRules, walk } from './walk.ts';

type Float64 = Tensor<Float64Array>;

/**
 * The value of a node in the magnitude network: every element's S, the sum that it would be if nothing cancelled, and K,
 * the rounded operations on the longest path to it. For any order of summation and any fused multiply-add, an
 * evaluation with unit roundoff u is within gamma_K(u) * S of the exact value (Higham, Accuracy and Stability of
 * Numerical Algorithms, lemma 3.1: products of K factors (1 + d)^(+-1)). Underflow is inside S, see `floor`.
 */
export interface Magnitude {
  readonly sum: Float64;
  readonly operations: number;
}

/** What S has to hold besides magnitudes, in units of the roundoff u that gamma_K will be taken with. */
export interface MagnitudeOptions {
  /**
   * At least underflow / u: added to S by every operation, so that gamma_K times it is at least the K underflows on the
   * way, and later weights carry them on.
   */
  readonly floor: number;
  /** The largest absolute error of erf beyond rounding, over u. */
  readonly erfError: number;
}

/**
 * A batch norm's roundings on the way of one term: var + eps, its root (a reciprocal root may take two steps), the
 * quotient, minus mean (or mean * factor, and beta - that), times factor, plus beta; an engine may fold the factor into
 * a convolution's kernel first, which is one more.
 */
const BATCH_NORM_OPERATIONS = 8;

/** Behind the product: times scale, shift * row_sum, their sum, plus bias. */
const WINDOW_AFFINE_OPERATIONS = 4;

/** x * 0.5 * (1 + erf(x / sqrt 2)): the rounding of z = x / sqrt 2 moves erf by at most |z erf'(z)| u < 0.5 u; then +, *, *. */
const GELU_OPERATIONS = 6;

/** Largest slope of GELU (1.1290 at x = sqrt 2). */
const GELU_SLOPE = 1.13;

/** exp, 1 +, the quotient, with exp up to a few units off; or one rational approximation, good absolutely on [0, 1]. */
const SIGMOID_OPERATIONS = 8;

/** Largest slope of the sigmoid, at 0. */
const SIGMOID_SLOPE = 0.25;

const deepest = (inputs: readonly Magnitude[]): number => Math.max(...inputs.map(({ operations }) => operations));

/** S of a non-linear op: what its input's error grows to, and its own. An exact input has no error to grow. */
function nonLinear(input: Magnitude, slope: number, own: Float64, operations: number, floor: number): Magnitude {
  const grown = input.operations === 0 ? 0 : slope;
  const data = own.data.map((value, i) => value + grown * input.sum.data[i]! + floor);
  return { sum: { shape: own.shape, data }, operations: input.operations + operations };
}

/**
 * S and K of the network's output.
 * @param values float64 values of the `input` nodes and of every non-linear node's input, by node name
 */
export async function magnitude(
  network: Network,
  weights: Weights,
  values: ReadonlyMap<string, Tensor>,
  { floor, erfError }: MagnitudeOptions,
): Promise<Magnitude> {
  const { matmul } = await openMatMul();
  const absolute = (tensor: Tensor): Float64 => {
    const data = new Float64Array(tensor.data.length);
    for (let i = 0; i < data.length; i++) data[i] = Math.abs(tensor.data[i]!) + floor;
    return { shape: tensor.shape, data };
  };
  const inputValue = (node: Node): Float64 => {
    const value = values.get(node.inputs[0] ?? '');
    if (value === undefined) throw new Error(`the value of ${node.inputs[0]} is needed for the slope of ${node.name}`);
    return toFloat64(value);
  };
  const plusFloor = (tensor: Float64): Float64 => map(tensor, (value) => value + floor);

  const rules: EvaluationRules<Magnitude> = {
    input: () => {
      throw new Error('an input has a value, not a rule');
    },
    conv2d: async (node, { inputs: [x], weight, bias }) => {
      const { op } = node;
      const kernel = absolute(weight('weight'));
      const taps = kernel.data.length / op.outChannels;
      const arguments_ = { op, x: x!.sum, weight: kernel, bias: bias && absolute(bias), shape: node.shape };
      return { sum: plusFloor(await conv2dFast(arguments_, matmul)), operations: x!.operations + taps + 1 };
    },
    batchNorm: (node, { inputs: [x], weight, bias }) => {
      const mean = weight('running_mean').data;
      const variance = weight('running_var').data;
      const factor = absolute(weight('weight')).data.map((gamma, c) => gamma / Math.sqrt(variance[c]! + node.op.eps));
      const shift = factor.map((f, c) => f * Math.abs(mean[c]!) + Math.abs(bias!.data[c]!));
      return {
        sum: plusFloor(affinePerChannel(x!.sum, factor, shift)),
        operations: x!.operations + BATCH_NORM_OPERATIONS,
      };
    },
    linear: (_node, { inputs: [x], weight, bias }) => ({
      sum: plusFloor(linear(x!.sum, absolute(weight('weight')), bias && absolute(bias))),
      operations: x!.operations + (x!.sum.shape[1] ?? 0) + 1,
    }),
    add: (_node, { inputs }) => ({
      sum: plusFloor(sum(inputs.map((input) => input.sum))),
      operations: deepest(inputs) + inputs.length - 1,
    }),
    mul: (_node, { inputs: [x, gate] }) => ({
      sum: plusFloor(gateProduct(x!.sum, gate!.sum)),
      operations: x!.operations + gate!.operations + 1,
    }),
    scale: ({ op }, { inputs: [x] }) => ({
      sum: map(x!.sum, (value) => value * Math.abs(op.factor) + floor),
      operations: x!.operations + 1,
    }),
    relu: (_node, { inputs: [x] }) => x!,
    gelu: (node, { inputs: [x] }) => {
      // |x|/2 * (1 + |erf|), by |x| * Phi(|x|) = gelu(|x|).
      const own = map(inputValue(node), (value) => gelu(Math.abs(value)) + 0.5 * Math.abs(value) * erfError);
      return nonLinear(x!, GELU_SLOPE, own, GELU_OPERATIONS, floor);
    },
    sigmoid: (node, { inputs: [x] }) =>
      nonLinear(
        x!,
        SIGMOID_SLOPE,
        map(inputValue(node), () => 1),
        SIGMOID_OPERATIONS,
        floor,
      ),
    globalAvgPool: (node, { inputs: [x] }) => ({
      sum: plusFloor(spatialMean(x!.sum, node.shape)),
      operations: x!.operations + x!.sum.data.length / (node.shape[0]! * node.shape[1]!),
    }),
    partition: (node, { inputs: [x] }) => ({
      sum: partition(x!.sum, windowsOfMap(node, x!.sum.shape), node.shape),
      operations: x!.operations,
    }),
    departition: (node, { inputs: [x] }) => ({
      sum: departition(x!.sum, windowsOfParts(node, x!.sum.shape), node.shape),
      operations: x!.operations,
    }),
    setLinear: async (node, { inputs: [x], weight, bias }) => ({
      sum: plusFloor(await setLinearFast(x!.sum, absolute(weight('weight')), bias && absolute(bias), matmul)),
      operations: x!.operations + node.shape[2]! * node.shape[3]! + 1,
    }),
    windowLinear: async (node, { inputs: [x], weight }) => {
      const windows = windowsOfMap(node, x!.sum.shape);
      const weights_ = windowLinearWeights(node, (role) => absolute(weight(role)));
      const sum = await windowLinear(x!.sum, windows, weights_, (cut, matrix) =>
        setLinearFast(cut, matrix, undefined, matmul),
      );
      const taps = node.op.window[0] * node.op.window[1];
      return { sum: plusFloor(sum), operations: x!.operations + taps + WINDOW_AFFINE_OPERATIONS };
    },
  };

  const given = new Map(
    network.inputs.map((name) => {
      const value = values.get(name);
      if (value === undefined) throw new Error(`the value of the input ${name} is needed`);
      return [name, { sum: absolute(value), operations: 0 }];
    }),
  );
  const result = (await walk(network, rules, weights, given)).get(network.output);
  if (result === undefined) throw new Error(`${network.name} has no output`);
  return result;
}
