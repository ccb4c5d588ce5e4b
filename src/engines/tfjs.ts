import type { KernelBackend, Tensor as TfjsTensor } from '@tensorflow/tfjs-core';
import { transposedFilter } from '../artefacts/channels-last.ts';
import { windowOffset } from '../artefacts/window-offset.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { applyRule, type Network, type Node, type OpRules, type Pair, type Role } from '../network/ops.ts';
import { at, windowsOf } from '../network/shapes.ts';
import {
  elements,
  type FloatArray,
  formatShape,
  type Shape,
  sameShape,
  type Tensor,
  toFloat32,
  type Weights,
} from '../network/tensor.ts';
import {
  type Engine,
  type EngineInfo,
  type EngineInputs,
  type LoadedNetwork,
  type StepTimes,
  UnsupportedOp,
} from './engine.ts';
import { NO_REWRITES, rewritesOf } from './tfjs-rewrites.ts';

/** A tfjs-core instance. */
export type Tfjs = typeof import('@tensorflow/tfjs-core');

/** Computes one node from the outputs of those before it; 4-D activations are [N, H, W, C] in here. */
export type Compute = (inputs: readonly TfjsTensor[], fed: EngineInputs) => TfjsTensor;

/** What a rule needs to prepare one node. */
export interface Loading {
  readonly tf: Tfjs;
  /** Shape of the node's first input, in the network's own order: [N, C, H, W] or [N, C]. */
  readonly inputShape: Shape;
  /** The node's weight of this role. */
  weight(role: Role): FloatArray;
  /** The node's kernel computes this, too. */
  readonly activation?: 'relu';
  /** Whether those that read the node take over a factor of 1/2. */
  readonly isDoubled: boolean;
  /** Puts values on the backend until the network is disposed; float64 is rounded to float32. */
  upload(data: FloatArray, shape: Shape): TfjsTensor;
}

/** One rule per op: prepares the node's weights once, and says how to compute it from then on. */
export type TfjsRules = OpRules<[loading: Loading], Compute>;

/** The rules of every tfjs backend. */
export const tfjsRules: TfjsRules = {
  input:
    (node, { tf }) =>
    (_inputs, fed) => {
      const tensor = fed.get(node.name);
      if (tensor === undefined) throw new InputError(`${node.name}: no such input was fed; ${namesOf(fed)}`);
      if (!sameShape(tensor.shape, node.shape)) {
        throw new InputError(
          `${node.name}: an input of shape ${formatShape(tensor.shape)} was fed; the network was built for ${formatShape(node.shape)}`,
        );
      }
      const uploaded = tf.tensor(tensor.data, [...tensor.shape], 'float32');
      return uploaded.rank < 3 ? uploaded : tf.transpose(uploaded, channelsLast(uploaded.rank));
    },
  conv2d: (node, loading) => {
    const { tf } = loading;
    const { outChannels, kernel, stride, padding, dilation, groups } = node.op;
    if (Math.max(...stride) > 1 && Math.max(...dilation) > 1) {
      throw new UnsupportedOp(
        `${node.name}: stride ${stride.join('x')} with dilation ${dilation.join('x')}; tfjs convolves with one of them above 1, not both`,
      );
    }
    const channels = loading.inputShape[1] ?? 0;
    const options = {
      strides: pair(stride),
      // The 4-D form: 'same' at stride 2 is TensorFlow's asymmetric padding.
      pad: [[0, 0], pair([padding[0], padding[0]]), pair([padding[1], padding[1]]), [0, 0]] satisfies ExplicitPadding,
      dilations: pair(dilation),
    };
    const bias = node.op.bias ? { bias: loading.upload(loading.weight('bias'), [outChannels]) } : {};
    const fused = { ...bias, ...(loading.activation && { activation: loading.activation }) };
    const weight = loading.weight('weight');
    if (groups === channels && groups > 1) {
      const filter = loading.upload(transposedFilter(weight, outChannels, 1, kernel), [
        ...kernel,
        channels,
        outChannels / channels,
      ]) as Tensor4D;
      // Its types leave out the padding form that its code takes.
      const depthwiseConv2d = tf.fused.depthwiseConv2d as (args: DepthwiseArguments) => Tensor4D;
      const compute: Compute = ([x]) => depthwiseConv2d({ x: x as Tensor4D, filter, ...options, ...fused });
      if (stride[0] !== stride[1] || Math.max(...dilation) > 1) tryDepthwise(tf, node, channels, compute);
      return compute;
    }
    const [inputsEach, outputsEach] = [channels / groups, outChannels / groups];
    const size = elements([outputsEach, inputsEach, ...kernel]);
    const filters = Array.from(
      { length: groups },
      (_, group) =>
        loading.upload(
          transposedFilter(weight.subarray(group * size, (group + 1) * size), outputsEach, inputsEach, kernel),
          [...kernel, inputsEach, outputsEach],
        ) as Tensor4D,
    );
    const [only] = filters;
    if (only !== undefined && groups === 1) {
      return ([x]) => tf.fused.conv2d({ x: x as Tensor4D, filter: only, ...options, ...fused });
    }
    // tfjs has no grouped convolution.
    return ([x]) => {
      const parts = tf.split<Tensor4D>(x!, groups, 3);
      const outputs = filters.map((filter, group) =>
        tf.conv2d(parts[group]!, filter, options.strides, options.pad, 'NHWC', options.dilations),
      );
      const joined = tf.concat(outputs, 3);
      return bias.bias === undefined ? joined : tf.add(joined, bias.bias);
    };
  },
  batchNorm: (node, loading) => {
    const { tf } = loading;
    const [scale, offset, mean, variance] = (['weight', 'bias', 'running_mean', 'running_var'] as const).map(
      (role) => loading.upload(loading.weight(role), [loading.inputShape[1] ?? 0]) as Tensor1D,
    );
    return ([x]) => tf.batchNorm(x as Tensor4D, mean!, variance!, offset, scale, node.op.eps);
  },
  linear: (node, loading) => {
    const { tf } = loading;
    const [inFeatures, outFeatures] = [loading.inputShape[1] ?? 0, node.op.outFeatures];
    const b = loading.upload(transposedFilter(loading.weight('weight'), outFeatures, inFeatures, [1, 1]), [
      inFeatures,
      outFeatures,
    ]);
    const bias = node.op.bias ? { bias: loading.upload(loading.weight('bias'), [outFeatures]) } : {};
    const fused = { ...bias, ...(loading.activation && { activation: loading.activation }) };
    return ([a]) => tf.fused.matMul({ a: a!, b, ...fused });
  },
  add:
    (_node, { tf }) =>
    (inputs) =>
      inputs.reduce((sum, input) => tf.add(sum, input)),
  mul:
    (_node, { tf }) =>
    ([x, gate]) =>
      tf.mul(x!, gate!),
  scale: (node, { tf, upload }) => {
    const factor = upload(Float32Array.of(node.op.factor), []);
    return ([x]) => tf.mul(x!, factor);
  },
  relu:
    (_node, { tf }) =>
    ([x]) =>
      tf.relu(x!),
  gelu: (_node, { tf, upload, isDoubled }) => {
    const [one, rootOfHalf] = [1, Math.SQRT1_2].map((value) => upload(Float32Array.of(value), []));
    const half = isDoubled ? undefined : upload(Float32Array.of(0.5), []);
    return ([x]) => {
      const factor = half === undefined ? x! : tf.mul(x!, half);
      return tf.mul(factor, tf.add(tf.erf(tf.mul(x!, rootOfHalf!)), one!));
    };
  },
  sigmoid:
    (_node, { tf }) =>
    ([x]) =>
      tf.sigmoid(x!),
  globalAvgPool: (node, { tf, inputShape: [, channels = 0, height = 0, width = 0] }) => {
    const shape = node.op.keepDims ? [-1, 1, 1, channels] : [-1, channels];
    // Up to 30 times faster than tf.mean, which transposes first.
    return ([x]) => tf.reshape(tf.avgPool(x as Tensor4D, [height, width], 1, 'valid'), shape);
  },
  partition: (node, { tf, inputShape }) => {
    const { parts, shape } = windowsOf(node, inputShape);
    const [r = 0, s = 0, h = 0, w = 0] = shape;
    return ([x]) => {
      const windows = tf.reshape(cut(tf, x!, node.op.window, parts), [-1, h * w, inputShape[1]! / s, s]);
      return tf.reshape(tf.transpose(windows, [0, 2, 1, 3]), [r, h, w, s]);
    };
  },
  departition:
    ({ op, shape: [n = 0, channels = 0] }, { tf, inputShape: [, sets = 0, h = 0, w = 0] }) =>
    ([x]) => {
      // [N, C/S, windows * h * w, S] -> [N, windows, h, w, C]
      const windows = tf.transpose(tf.reshape(x!, [n, channels / sets, -1, sets]), [0, 2, 1, 3]);
      return join(tf, tf.reshape(windows, [-1, h, w, channels]), op.parts);
    },
  setLinear: (node, loading) => {
    const { tf } = loading;
    const [r = 0, s = 0, h = 0, w = 0] = node.shape;
    const product = setProduct(loading, [s, h * w, r]);
    const bias = node.op.bias ? loading.upload(loading.weight('bias'), [s, h * w, 1]) : undefined;
    return ([x]) => {
      const linear = product(tf.transpose(tf.reshape(x!, [r, h * w, s]), [2, 1, 0]));
      const sum = bias === undefined ? linear : tf.add(linear, bias);
      return tf.reshape(tf.transpose(sum, [2, 1, 0]), [r, h, w, s]);
    };
  },
  windowLinear: (node, loading) => {
    const { tf, weight, upload } = loading;
    const { op, shape } = node;
    const [n = 0, channels = 0, height = 0, width = 0] = shape;
    const { parts, shape: windows } = windowsOf(node, shape);
    const [r = 0, s = 0, h = 0, w = 0] = windows;
    const pixels = h * w;
    const count = n * parts[0] * parts[1];
    const each = channels / s;
    const product = setProduct(loading, [s, pixels, r]);
    const bias = op.bias && !op.affine ? upload(weight('bias'), [s, pixels, 1]) : undefined;
    const affine = op.affine
      ? {
          scale: upload(weight('scale'), [channels]),
          offset: upload(windowOffset(node, weight, 'channels last'), [pixels, channels]),
        }
      : undefined;
    return ([x]) => {
      const cutUp = tf.reshape(cut(tf, x!, op.window, parts), [count, pixels, each, s]);
      const linear = product(tf.reshape(tf.transpose(cutUp, [3, 1, 0, 2]), [s, pixels, r]));
      const sum = bias === undefined ? linear : tf.add(linear, bias);
      const last = tf.transpose(tf.reshape(sum, [s, pixels, count, each]), [2, 1, 3, 0]);
      const maps = tf.reshape(last, [count, pixels, channels]);
      const result = affine === undefined ? maps : tf.add(tf.mul(maps, affine.scale), affine.offset);
      if (count === n) return tf.reshape(result, [n, height, width, channels]);
      // As partition writes its rows, (window, C/S), and departition reads them, (C/S, window).
      const rows = tf.transpose(tf.reshape(result, [count, pixels, each, s]), [0, 2, 1, 3]);
      const read = tf.transpose(tf.reshape(rows, [n, each, -1, s]), [0, 2, 1, 3]);
      return join(tf, tf.reshape(read, [-1, h, w, channels]), parts);
    };
  },
};

/** [N, H, W, C] -> [N * H/h * W/w, h, w, C]. Every backend transposes four axes; more are slow or beyond it. */
function cut(tf: Tfjs, maps: TfjsTensor, [h, w]: Pair, parts: Pair): TfjsTensor {
  const channels = maps.shape[3]!;
  const rows = tf.reshape(maps, [-1, h, parts[1], w * channels]);
  return tf.reshape(tf.transpose(rows, [0, 2, 1, 3]), [-1, h, w, channels]);
}

/** [N * parts, h, w, C] -> [N, H, W, C] */
function join(tf: Tfjs, windows: TfjsTensor, parts: Pair): TfjsTensor {
  const [, h = 0, w = 0, channels = 0] = windows.shape;
  const rows = tf.transpose(tf.reshape(windows, [-1, parts[1], h, w * channels]), [0, 2, 1, 3]);
  return tf.reshape(rows, [-1, parts[0] * h, parts[1] * w, channels]);
}

/**
 * From so many multiply-adds a share-set on, wasm multiplies its matrices one by one: XNNPACK multiplies one pair at a
 * time; for several the backend has a plain loop, ten times slower, but without the 20 to 150 microseconds of each call.
 */
const WASM_ONE_BY_ONE = 2 ** 17;

/**
 * The layers over windows [S, h*w, R] by weights [S, h*w, h*w]. The weights stand on the left, as PyTorch stores them;
 * every backend was slower with the factors exchanged, or no faster.
 */
function setProduct(
  { tf, weight, upload }: Loading,
  [sets, pixels, columns]: readonly [number, number, number],
): (windows: TfjsTensor) => TfjsTensor {
  const data = weight('weight');
  const size = pixels * pixels;
  if (sets === 1 || tf.getBackend() !== 'wasm' || size * columns < WASM_ONE_BY_ONE) {
    const matrices = upload(data, [sets, pixels, pixels]);
    return (windows) => tf.matMul(matrices, windows);
  }
  const matrices = Array.from({ length: sets }, (_, set) =>
    upload(data.subarray(set * size, (set + 1) * size), [pixels, pixels]),
  );
  return (windows) => tf.stack(tf.unstack(windows).map((each, set) => tf.matMul(matrices[set]!, each)));
}

type Tensor1D = import('@tensorflow/tfjs-core').Tensor1D;
type Tensor4D = import('@tensorflow/tfjs-core').Tensor4D;
type ExplicitPadding = [[number, number], [number, number], [number, number], [number, number]];
type TypedArguments = Parameters<Tfjs['fused']['depthwiseConv2d']>[0];
type DepthwiseArguments = Omit<TypedArguments, 'pad'> & { readonly pad: TypedArguments['pad'] | ExplicitPadding };

/** A backend of a tfjs-core instance, ready to be the current one. */
export interface TfjsBackend {
  readonly tf: Tfjs;
  /** The name it is registered by. */
  readonly backend: string;
  readonly info: EngineInfo;
  readonly rules?: TfjsRules;
  /** Whether networks are rewritten before they run; true by default, for the bits are the same. */
  readonly rewrites?: boolean;
  /** Whether a kernel has done its work when it returns, so that nodes can be timed one by one; true by default. */
  readonly isSynchronous?: boolean;
}

let starting: Promise<unknown> = Promise.resolve();

/** tfjs loses track of its backends when one is started while another is starting. */
export function oneAtATime<T>(start: () => Promise<T>): Promise<T> {
  const result = starting.then(start);
  starting = result.catch(() => undefined);
  return result;
}

/**
 * Starts a registered backend, or finds it started.
 * @throws Error where it does not start
 */
export function startBackend(tf: Tfjs, backend: string): Promise<KernelBackend> {
  return oneAtATime(async () => {
    const instance = (await tf.setBackend(backend)) ? tf.findBackend(backend) : null;
    if (instance === null) throw new Error(`tfjs could not start its ${backend} backend`);
    return instance;
  });
}

/**
 * An engine on a tfjs backend. The whole network runs in NHWC; only its inputs and its output are transposed.
 * @throws Error where the backend does not start
 */
export async function tfjsEngine({
  tf,
  backend,
  info,
  rules = tfjsRules,
  rewrites = true,
  isSynchronous = true,
}: TfjsBackend): Promise<Engine> {
  const instance = await startBackend(tf, backend);
  const isCurrent = (): boolean => tf.getBackend() === backend && tf.backend() === instance;

  /** From here to the last kernel call all is synchronous, so that no other engine's backend can come between. */
  function makeCurrent(): void {
    // A backend that was started before becomes the current one within the call.
    if (!isCurrent()) void tf.setBackend(backend);
    if (!isCurrent()) throw new Error(`${backend}: another tfjs backend has taken its place; open the engine again`);
  }

  return {
    info,
    liveTensors: () => tf.memory().numTensors,
    async load(network, weights): Promise<LoadedNetwork> {
      makeCurrent();
      const uploaded: TfjsTensor[] = [];
      const dispose = (): void => tf.dispose(uploaded);
      try {
        const steps = prepare(network, weights, { tf, rules, rewrites, uploaded });
        return {
          async run(inputs) {
            makeCurrent();
            const output = tf.tidy(() => execute(tf, network, steps, inputs));
            try {
              return { shape: output.shape, data: await output.data<'float32'>() };
            } finally {
              output.dispose();
            }
          },
          dispose: async () => dispose(),
        };
      } catch (error) {
        dispose();
        throw error;
      }
    },
    ...(isSynchronous && { profile }),
  };

  async function profile(
    network: Network,
    weights: Weights,
    inputs: EngineInputs,
    inferences: number,
  ): Promise<readonly StepTimes[]> {
    makeCurrent();
    const uploaded: TfjsTensor[] = [];
    try {
      const steps = prepare(network, weights, { tf, rules, rewrites, uploaded });
      const times = steps.map((): number[] => []);
      for (let inference = 0; inference <= inferences; inference++) {
        let since = performance.now();
        const output = tf.tidy(() =>
          execute(tf, network, steps, inputs, (index) => {
            const now = performance.now();
            if (inference > 0) times[index]!.push(now - since);
            since = now;
          }),
        );
        output.dispose();
      }
      return steps.map(({ node, output }, index) => ({
        name: node.name,
        op: output === node.name ? node.op.kind : `${node.op.kind} + ${output}`,
        milliseconds: times[index]!,
      }));
    } finally {
      tf.dispose(uploaded);
    }
  }
}

interface Step {
  readonly node: Node;
  /** The node whose value this is: the node's own, or an activation's that its kernel computes as well. */
  readonly output: string;
  readonly compute: Compute;
  /** Nodes whose outputs nobody reads after this step. */
  readonly release: readonly string[];
}

interface Preparing {
  readonly tf: Tfjs;
  readonly rules: TfjsRules;
  readonly rewrites: boolean;
  /** Receives every tensor that is put on the backend. */
  readonly uploaded: TfjsTensor[];
}

/** @throws UnsupportedOp, and InputError where a weight is missing or of another size */
function prepare(network: Network, weights: Weights, { tf, rules, uploaded, rewrites }: Preparing): readonly Step[] {
  const { doubled, activations } = rewrites ? rewritesOf(network, weights) : NO_REWRITES;
  const computedBefore = new Set(activations.values());
  const nodes = network.nodes.filter(({ name }) => !computedBefore.has(name));
  const shapes = new Map(network.nodes.map((node) => [node.name, node.shape]));
  const weightShapes = weightShapesByKey(network);
  const lastReaders = new Map(nodes.flatMap((node) => node.inputs.map((input) => [input, node.name])));
  lastReaders.delete(network.output);
  return nodes.map((node) => {
    const activation = activations.get(node.name);
    const isHalved = doubled.has(node.inputs[0] ?? '');
    const compute = applyRule(rules, node, {
      tf,
      inputShape: shapes.get(node.inputs[0] ?? '') ?? [],
      weight: (role) => {
        const data = weightOf(node, role, weights, weightShapes);
        return isHalved && role === 'weight' ? data.map((value) => value / 2) : data;
      },
      ...(activation !== undefined && { activation: 'relu' as const }),
      isDoubled: doubled.has(node.name),
      upload: (data, shape) => {
        const tensor = tf.tensor(toFloat32({ data, shape }).data, [...shape], 'float32');
        uploaded.push(tensor);
        return tensor;
      },
    });
    const release = [...new Set(node.inputs)].filter((input) => lastReaders.get(input) === node.name);
    return { node, output: activation ?? node.name, compute, release };
  });
}

function weightOf(node: Node, role: Role, weights: Weights, shapes: ReadonlyMap<string, Shape>): FloatArray {
  const key = node.weights[role] ?? `${node.name}.${role}`;
  const tensor = weights.get(key);
  if (tensor === undefined) throw new InputError(`${key} is missing from the weights; ${node.name} needs it`);
  const shape = shapes.get(key) ?? [];
  if (tensor.data.length !== elements(shape)) {
    throw new InputError(
      `${node.name}: a weight has ${tensor.data.length} elements; ${formatShape(shape)} needs ${elements(shape)}`,
    );
  }
  return tensor.data;
}

/** The network's output in its own order: [N, C, H, W] or [N, C]. */
function execute(
  tf: Tfjs,
  network: Network,
  steps: readonly Step[],
  inputs: EngineInputs,
  onStep: (index: number) => void = () => {},
): TfjsTensor {
  const values = new Map<string, TfjsTensor>();
  for (const [index, { node, output, compute, release }] of steps.entries()) {
    const operands = node.inputs.map((input) => values.get(input)!);
    values.set(
      output,
      tf.tidy(() => compute(operands, inputs)),
    );
    for (const name of release) {
      values.get(name)?.dispose();
      values.delete(name);
    }
    onStep(index);
  }
  const output = values.get(network.output)!;
  const ordered = output.rank < 3 ? output : tf.transpose(output, channelsFirst(output.rank));
  if (!sameShape(ordered.shape, steps.find((step) => step.output === network.output)?.node.shape ?? [])) {
    throw new Error(`${network.output}: tfjs computed the shape ${formatShape(ordered.shape)}`);
  }
  return ordered;
}

/** TensorFlow has several depthwise kernels, not all for every stride and dilation: found out on one window of zeros. */
function tryDepthwise(
  tf: Tfjs,
  { name, op: { kernel, stride, dilation } }: Node<'conv2d'>,
  channels: number,
  compute: Compute,
): void {
  const window = kernel.map((taps, axis) => (taps - 1) * at(dilation, axis) + 1);
  try {
    tf.tidy(() => void compute([tf.zeros([1, ...window, channels])], new Map()));
  } catch (error) {
    const reason = error instanceof Error ? error.message.replaceAll('\n', ' ') : String(error);
    throw new UnsupportedOp(
      `${name}: depthwise convolution with stride ${stride.join('x')} and dilation ${dilation.join('x')}; ${tf.getBackend()} refuses it: ${reason}`,
    );
  }
}

/** [N, C, ...] -> [N, ..., C] */
function channelsLast(rank: number): number[] {
  return [0, ...Array.from({ length: rank - 2 }, (_, axis) => axis + 2), 1];
}

/** [N, ..., C] -> [N, C, ...] */
function channelsFirst(rank: number): number[] {
  return [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, axis) => axis + 1)];
}

function pair([height, width]: Pair): [number, number] {
  return [height, width];
}

function namesOf(fed: ReadonlyMap<string, Tensor>): string {
  return fed.size === 0 ? 'none was' : `there are ${[...fed.keys()].join(', ')}`;
}
