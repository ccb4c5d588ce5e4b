import type { Network } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { conv2dDefinition, conv2dFast } from './kernels/conv2d.ts';
import { affinePerChannel, gateProduct, linear, map, relu, spatialMean, sum } from './kernels/elementwise.ts';
import { geluArray } from './kernels/gelu.ts';
import {
  departition,
  partition,
  setLinearDefinition,
  setLinearFast,
  windowLinear,
  windowLinearWeights,
  windowsOfMap,
  windowsOfParts,
} from './kernels/windows.ts';
import { type MatMul, openMatMul } from './product.ts';
import { type EvaluationRules, type Keep, walk } from './walk.ts';
import { type Arrays, Workspace, widen } from './workspace.ts';

type Float64 = Tensor<Float64Array>;

/** PyTorch's eval-mode BatchNorm as factor and shift per channel. */
function batchNormAffine(eps: number, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) {
  const factor = new Float64Array(gamma.data.length);
  const shift = new Float64Array(gamma.data.length);
  for (let c = 0; c < factor.length; c++) {
    factor[c] = gamma.data[c]! / Math.sqrt(variance.data[c]! + eps);
    shift[c] = beta.data[c]! - mean.data[c]! * factor[c]!;
  }
  return { factor, shift };
}

/** Every op by its definition. */
function definitions(arrays: Arrays): EvaluationRules<Float64> {
  return {
    input: () => {
      throw new Error('an input has a value, not a rule');
    },
    conv2d: (node, { inputs: [x], weight, bias }) =>
      conv2dDefinition({ op: node.op, x: x!, weight: weight('weight'), bias, shape: node.shape }),
    batchNorm: (node, { inputs: [x], weight, bias }) => {
      const { factor, shift } = batchNormAffine(
        node.op.eps,
        weight('weight'),
        bias!,
        weight('running_mean'),
        weight('running_var'),
      );
      return affinePerChannel(x!, factor, shift, arrays);
    },
    linear: (_node, { inputs: [x], weight, bias }) => linear(x!, weight('weight'), bias, arrays),
    add: (_node, { inputs }) => sum(inputs, arrays),
    mul: (_node, { inputs: [x, gate] }) => gateProduct(x!, gate!, arrays),
    scale: ({ op }, { inputs: [x] }) => map(x!, (value) => value * op.factor, arrays),
    relu: (_node, { inputs: [x] }) => relu(x!, arrays),
    gelu: (_node, { inputs: [x] }) => ({ shape: x!.shape, data: geluArray(x!.data, arrays) }),
    sigmoid: (_node, { inputs: [x] }) => map(x!, (value) => 1 / (1 + Math.exp(-value)), arrays),
    globalAvgPool: (node, { inputs: [x] }) => spatialMean(x!, node.shape),
    partition: (node, { inputs: [x] }) => partition(x!, windowsOfMap(node, x!.shape), node.shape, arrays),
    departition: (node, { inputs: [x] }) => departition(x!, windowsOfParts(node, x!.shape), node.shape, arrays),
    setLinear: (_node, { inputs: [x], weight, bias }) => setLinearDefinition(x!, weight('weight'), bias),
    windowLinear: (node, { inputs: [x], weight }) =>
      windowLinear(x!, windowsOfMap(node, x!.shape), windowLinearWeights(node, weight), (windows, matrix) =>
        setLinearDefinition(windows, matrix, undefined),
      ),
  };
}

/** The same with convolutions and layers over windows as matrix products. */
function fastRules(matmul: MatMul, arrays: Arrays): EvaluationRules<Float64> {
  return {
    ...definitions(arrays),
    conv2d: (node, { inputs: [x], weight, bias }) =>
      conv2dFast({ op: node.op, x: x!, weight: weight('weight'), bias, shape: node.shape }, matmul, arrays),
    setLinear: (_node, { inputs: [x], weight, bias }) => setLinearFast(x!, weight('weight'), bias, matmul, arrays),
    windowLinear: (node, { inputs: [x], weight }) =>
      windowLinear(
        x!,
        windowsOfMap(node, x!.shape),
        windowLinearWeights(node, weight),
        (windows, matrix) => setLinearFast(windows, matrix, undefined, matmul, arrays),
        arrays,
      ),
  };
}

export interface Float64Options {
  /** `definition` for the plain loops; the default computes convolutions as matrix products. */
  readonly kernels?: 'definition' | 'fast';
  /** Nodes whose values the result holds besides the output. */
  readonly keep?: Keep;
  /** Hold every value, the result's too; by default arrays that only this evaluation uses. */
  readonly arrays?: Arrays;
  /** Of the matrix products; by default as many as {@link openMatMul} takes. */
  readonly threads?: number;
}

/**
 * Evaluates a network in float64 arithmetic on the given weights, which are used as they are (float32 widens exactly).
 * @param inputs one tensor per `input` node, in its shape
 * @returns values by node name; at least that of the network's output
 */
export async function evaluateFloat64(
  network: Network,
  weights: Weights,
  inputs: ReadonlyMap<string, Tensor>,
  options: Float64Options = {},
): Promise<ReadonlyMap<string, Float64>> {
  const { kernels, keep, arrays = new Workspace(), threads } = options;
  const rules = kernels === 'definition' ? definitions(arrays) : fastRules((await openMatMul(threads)).matmul, arrays);
  const given = new Map(
    [...inputs].map(([name, { shape, data }]) => [name, { shape, data: widen(data, arrays) }] as const),
  );
  return walk(network, rules, weights, given, { keep, release: ({ data }) => arrays.release(data) });
}
