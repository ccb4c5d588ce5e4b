import { applyRule, type Network, type Node, type OpRules } from '../network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { conv2dFast } from './kernels/conv2d.ts';
import { addConstant, affinePerChannel, gateProduct, linear, map, spatialMean, sum } from './kernels/elementwise.ts';
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
import { type Arrays, Workspace } from './workspace.ts';

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
  /** Hold every value, the result's too; by default arrays that only this evaluation uses. */
  readonly arrays?: Arrays;
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

type Depth = [inputs: readonly number[], shapes: readonly Shape[]];

const deepest = (inputs: readonly number[]): number => Math.max(...inputs);

/** K behind each op, from that of its inputs. */
const operationRules: OpRules<Depth, number> = {
  input: () => 0,
  conv2d: ({ op }, [x], [shape]) => x! + (shape![1]! / op.groups) * op.kernel[0] * op.kernel[1] + 1,
  batchNorm: (_node, [x]) => x! + BATCH_NORM_OPERATIONS,
  linear: (_node, [x], [shape]) => x! + shape![1]! + 1,
  add: (_node, inputs) => deepest(inputs) + inputs.length - 1,
  mul: (_node, [x, gate]) => x! + gate! + 1,
  scale: (_node, [x]) => x! + 1,
  relu: (_node, [x]) => x!,
  gelu: (_node, [x]) => x! + GELU_OPERATIONS,
  sigmoid: (_node, [x]) => x! + SIGMOID_OPERATIONS,
  globalAvgPool: (_node, [x], [shape]) => x! + elements(shape!.slice(2)),
  partition: (_node, [x]) => x!,
  departition: (_node, [x]) => x!,
  setLinear: ({ shape }, [x]) => x! + shape[2]! * shape[3]! + 1,
  windowLinear: ({ op }, [x]) => x! + op.window[0] * op.window[1] + WINDOW_AFFINE_OPERATIONS,
};

/** K of every node, by name: of the structure alone. */
function operationsByName(network: Network): ReadonlyMap<string, number> {
  const shapes = new Map<string, Shape>();
  const operations = new Map<string, number>();
  for (const node of network.nodes) {
    const inputs = node.inputs.map((input) => operations.get(input)!);
    const inputShapes = node.inputs.map((input) => shapes.get(input)!);
    operations.set(node.name, applyRule(operationRules, node, inputs, inputShapes));
    shapes.set(node.name, node.shape);
  }
  return operations;
}

/** K of the network's output, which no weight and no value changes. */
export function operationsOf(network: Network): number {
  return operationsByName(network).get(network.output)!;
}

/** The nodes whose values {@link magnitude} looks at: inputs, and what non-linear nodes read, for their slope. */
export function valuesNeeded({ nodes, inputs }: Network): ReadonlySet<string> {
  const nonLinear = nodes.filter(({ op }) => op.kind === 'gelu' || op.kind === 'sigmoid');
  return new Set([...inputs, ...nonLinear.flatMap((node) => node.inputs)]);
}

/**
 * S and K of the network's output.
 * @param values in float64, by node name: at least those that {@link valuesNeeded} names
 */
export async function magnitude(
  network: Network,
  weights: Weights,
  values: ReadonlyMap<string, Tensor>,
  { floor, erfError, arrays = new Workspace() }: MagnitudeOptions,
): Promise<Magnitude> {
  const { matmul } = await openMatMul();
  const operations = operationsByName(network);
  const absolute = ({ shape, data }: Tensor): Float64 => {
    const sizes = arrays.take(data.length);
    for (let i = 0; i < sizes.length; i++) sizes[i] = Math.abs(data[i]!) + floor;
    return { shape, data: sizes };
  };
  const given = (name: string): Tensor => {
    const value = values.get(name);
    if (value === undefined) throw new Error(`the magnitudes of ${network.name} need the value of ${name}`);
    return value;
  };
  const plusFloor = (tensor: Float64): Float64 => addConstant(tensor, floor);
  /** Magnitudes of a bias [length] that carry the floor of their sum, too. */
  const withFloor = (bias: Tensor | undefined, length: number): Float64 => ({
    shape: [length],
    data: Float64Array.from({ length }, (_, i) => (bias === undefined ? 0 : Math.abs(bias.data[i]!) + floor) + floor),
  });
  /** S of a non-linear op: its own, plus what its input's error grows to. An exact input has no error to grow. */
  const nonLinear = (node: Node, { shape, data }: Float64, slope: number, own: (value: number) => number): Float64 => {
    const [input] = node.inputs;
    const value = given(input!).data;
    const grown = operations.get(input!) === 0 ? 0 : slope;
    const y = arrays.take(data.length);
    for (let i = 0; i < y.length; i++) y[i] = own(value[i]!) + grown * data[i]! + floor;
    return { shape, data: y };
  };

  const rules: EvaluationRules<Float64> = {
    input: () => {
      throw new Error('an input has a value, not a rule');
    },
    conv2d: async ({ op, shape }, { inputs: [x], weight, bias }) => {
      const kernel = absolute(weight('weight'));
      const y = await conv2dFast(
        { op, x: x!, weight: kernel, bias: withFloor(bias, shape[1]!), shape },
        matmul,
        arrays,
      );
      arrays.release(kernel.data);
      return y;
    },
    batchNorm: (node, { inputs: [x], weight, bias }) => {
      const gamma = weight('weight').data;
      const mean = weight('running_mean').data;
      const variance = weight('running_var').data;
      const factor = new Float64Array(gamma.length);
      const shift = new Float64Array(gamma.length);
      for (let c = 0; c < factor.length; c++) {
        factor[c] = (Math.abs(gamma[c]!) + floor) / Math.sqrt(variance[c]! + node.op.eps);
        // The floor of the sum, too: a constant per channel.
        shift[c] = factor[c]! * Math.abs(mean[c]!) + Math.abs(bias!.data[c]!) + floor;
      }
      return affinePerChannel(x!, factor, shift, arrays);
    },
    linear: (_node, { inputs: [x], weight, bias }) => {
      const matrix = absolute(weight('weight'));
      const y = linear(x!, matrix, withFloor(bias, matrix.shape[0]!), arrays);
      arrays.release(matrix.data);
      return y;
    },
    add: (_node, { inputs }) => sum(inputs, arrays, floor),
    mul: (_node, { inputs: [x, gate] }) => plusFloor(gateProduct(x!, gate!, arrays)),
    scale: ({ op }, { inputs: [x] }) => map(x!, (value) => value * Math.abs(op.factor) + floor, arrays),
    relu: (_node, { inputs: [x] }) => x!,
    // |x|/2 * (1 + |erf|), by |x| * Phi(|x|) = gelu(|x|).
    gelu: (node, { inputs: [x] }) =>
      nonLinear(node, x!, GELU_SLOPE, (value) => gelu(Math.abs(value)) + 0.5 * Math.abs(value) * erfError),
    sigmoid: (node, { inputs: [x] }) => nonLinear(node, x!, SIGMOID_SLOPE, () => 1),
    globalAvgPool: (node, { inputs: [x] }) => plusFloor(spatialMean(x!, node.shape)),
    partition: (node, { inputs: [x] }) => partition(x!, windowsOfMap(node, x!.shape), node.shape, arrays),
    departition: (node, { inputs: [x] }) => departition(x!, windowsOfParts(node, x!.shape), node.shape, arrays),
    setLinear: async (_node, { inputs: [x], weight, bias }) => {
      const matrix = absolute(weight('weight'));
      const y = await setLinearFast(x!, matrix, withFloor(bias, matrix.shape[0]!), matmul, arrays);
      arrays.release(matrix.data);
      return y;
    },
    windowLinear: async (node, { inputs: [x], weight }) => {
      const windows = windowsOfMap(node, x!.shape);
      const sizes = windowLinearWeights(node, (role) => absolute(weight(role)));
      const product = (cut: Float64, matrix: Tensor) => setLinearFast(cut, matrix, undefined, matmul, arrays);
      const y = await windowLinear(x!, windows, sizes, product, arrays);
      return plusFloor(y);
    },
  };

  const inputs = new Map(network.inputs.map((name) => [name, absolute(given(name))]));
  const release = ({ data }: Float64) => arrays.release(data);
  const sums = await walk(network, rules, weights, inputs, { release });
  return { sum: sums.get(network.output)!, operations: operations.get(network.output)! };
}
