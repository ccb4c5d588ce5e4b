/**
 * A network as a TensorFlow.js graph model: `model.json` with the graph and the list of its weights, and the weights in
 * shards (https://github.com/tensorflow/tfjs/tree/master/tfjs-converter). In TensorFlow's order throughout, [N, H, W, C],
 * as `tf.browser.fromPixels` gives images.
 */
import { createHash } from 'node:crypto';
import { InputError } from '../network/errors.ts';
import { nodesByName, weightShapesByKey, withBatch } from '../network/graph.ts';
import { applyRule, type Network, type Node, type OpRules, type Pair, type Role } from '../network/ops.ts';
import { windowsOf } from '../network/shapes.ts';
import { elements, type FloatArray, type Shape, toFloat32, type Weights } from '../network/tensor.ts';
import { transposedFilter } from './channels-last.ts';
import { type ValueNames, valueNames } from './value-names.ts';
import { windowOffset } from './window-offset.ts';

export interface TfjsOptions extends ValueNames {
  /** Leaves the number of images open; fixed to the network's by default. */
  readonly dynamicBatch?: boolean;
}

/** Bytes of a shard: what TensorFlow.js' own converter takes, so that browsers cache each. */
const SHARD_BYTES = 4 * 2 ** 20;

/** An attribute of a node, as TensorFlow's protobuf has it in JSON: whole numbers as text, text in base64. */
type Attribute = Readonly<Record<string, unknown>>;

interface NodeDef {
  readonly name: string;
  readonly op: string;
  readonly input: readonly string[];
  readonly attr: Readonly<Record<string, Attribute>>;
}

const attribute = {
  type: (type: 'DT_FLOAT' | 'DT_INT32'): Attribute => ({ type }),
  bool: (b: boolean): Attribute => ({ b }),
  float: (f: number): Attribute => ({ f }),
  whole: (i: number): Attribute => ({ i: String(i) }),
  wholes: (values: readonly number[]): Attribute => ({ list: { i: values.map(String) } }),
  text: (s: string): Attribute => ({ s: base64(s) }),
  texts: (values: readonly string[]): Attribute => ({ list: { s: values.map(base64) } }),
  shape: (shape: Shape): Attribute => ({ shape: dims(shape) }),
};

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** An open dimension is -1. */
function dims(shape: Shape): { readonly dim: readonly { readonly size: string }[] } {
  return { dim: shape.map((size) => ({ size: String(size) })) };
}

/** A weight or a constant of the graph. */
interface Constant {
  readonly shape: Shape;
  readonly data: Float32Array | Int32Array;
}

/** The graph of one network, as it grows. Every function returns the name of the value that it makes. */
class Graph {
  readonly nodes: NodeDef[] = [];
  readonly constants = new Map<string, Constant>();

  add(name: string, op: string, input: readonly string[], attr: Readonly<Record<string, Attribute>> = {}): string {
    this.nodes.push({ name, op, input, attr: { T: attribute.type('DT_FLOAT'), ...attr } });
    return name;
  }

  floats(name: string, shape: Shape, data: FloatArray): string {
    return this.#constant(name, 'DT_FLOAT', { shape, data: toFloat32({ shape, data }).data });
  }

  wholes(name: string, values: readonly number[]): string {
    return this.#constant(name, 'DT_INT32', { shape: [values.length], data: Int32Array.from(values) });
  }

  whole(name: string, value: number): string {
    return this.#constant(name, 'DT_INT32', { shape: [], data: Int32Array.of(value) });
  }

  reshape(name: string, input: string, shape: Shape): string {
    return this.add(name, 'Reshape', [input, this.wholes(`${name}/shape`, shape)]);
  }

  transpose(name: string, input: string, order: readonly number[]): string {
    return this.add(name, 'Transpose', [input, this.wholes(`${name}/perm`, order)]);
  }

  #constant(name: string, type: 'DT_FLOAT' | 'DT_INT32', constant: Constant): string {
    this.constants.set(name, constant);
    const value = { tensor: { dtype: type, tensorShape: dims(constant.shape) } };
    this.nodes.push({ name, op: 'Const', input: [], attr: { dtype: attribute.type(type), value } });
    return name;
  }
}

/** What a rule needs to write one node. */
interface Context {
  readonly graph: Graph;
  /** Shape of the node's first input, [N, C, H, W] or [N, C]. */
  readonly inputShape: Shape;
  /** The node's weight of this role. */
  weight(role: Role): FloatArray;
}

function biased(name: string, node: Node, context: Context, channels: number): readonly string[] {
  const key = node.weights.bias;
  return key === undefined ? [] : [context.graph.floats(`${name}/bias`, [channels], context.weight('bias'))];
}

const FUSED_BIAS = {
  fused_ops: attribute.texts(['BiasAdd']),
  num_args: attribute.whole(1),
  epsilon: attribute.float(0),
};

function convAttributes({ op }: Node<'conv2d'>): Record<string, Attribute> {
  const [top, left] = op.padding;
  return {
    strides: attribute.wholes([1, ...op.stride, 1]),
    dilations: attribute.wholes([1, ...op.dilation, 1]),
    // 'SAME' at stride 2 is TensorFlow's asymmetric padding.
    padding: attribute.text('EXPLICIT'),
    explicit_paddings: attribute.wholes([0, 0, top, top, left, left, 0, 0]),
    data_format: attribute.text('NHWC'),
  };
}

function convolution(node: Node<'conv2d'>, x: string, context: Context): void {
  const { graph, inputShape } = context;
  const { name, op } = node;
  const { outChannels, kernel, groups, stride, dilation } = op;
  if (Math.max(...stride) > 1 && Math.max(...dilation) > 1) {
    throw new InputError(
      `${name}: stride ${stride.join('x')} with dilation ${dilation.join('x')}; TensorFlow.js convolves with one of them above 1, not both: write ONNX instead`,
    );
  }
  const channels = inputShape[1] ?? 0;
  const weight = context.weight('weight');
  const attr = convAttributes(node);
  const filterName = `${name}/filter`;
  if (groups === 1 || (groups === channels && groups > 1)) {
    const depthwise = groups > 1;
    const filter = depthwise
      ? graph.floats(
          filterName,
          [...kernel, channels, outChannels / channels],
          transposedFilter(weight, outChannels, 1, kernel),
        )
      : graph.floats(
          filterName,
          [...kernel, channels, outChannels],
          transposedFilter(weight, outChannels, channels, kernel),
        );
    const bias = biased(name, node, context, outChannels);
    if (bias.length === 0) graph.add(name, depthwise ? 'DepthwiseConv2dNative' : 'Conv2D', [x, filter], attr);
    else {
      const fused = depthwise ? 'FusedDepthwiseConv2dNative' : '_FusedConv2D';
      graph.add(name, fused, [x, filter, ...bias], { ...attr, ...FUSED_BIAS });
    }
    return;
  }
  // TensorFlow.js has no grouped convolution.
  const [inputsEach, outputsEach] = [channels / groups, outChannels / groups];
  const size = elements([outputsEach, inputsEach, ...kernel]);
  const split = graph.add(`${name}/split`, 'Split', [graph.whole(`${name}/split_axis`, 3), x], {
    num_split: attribute.whole(groups),
  });
  const parts = Array.from({ length: groups }, (_, group) => {
    const part = weight.subarray(group * size, (group + 1) * size);
    const filter = graph.floats(
      `${filterName}/${group}`,
      [...kernel, inputsEach, outputsEach],
      transposedFilter(part, outputsEach, inputsEach, kernel),
    );
    return graph.add(`${name}/${group}`, 'Conv2D', [group === 0 ? split : `${split}:${group}`, filter], attr);
  });
  const bias = biased(name, node, context, outChannels);
  const joined = bias.length === 0 ? name : `${name}/joined`;
  graph.add(joined, 'ConcatV2', [...parts, graph.whole(`${name}/axis`, 3)], { N: attribute.whole(groups) });
  if (bias.length > 0) graph.add(name, 'BiasAdd', [joined, ...bias], { data_format: attribute.text('NHWC') });
}

/** [N, H, W, C] -> [N * H/h * W/w, h, w, C] */
function cut(graph: Graph, name: string, x: string, shape: Shape, [h, w]: Pair, parts: Pair): string {
  const [n = 0, channels = 0] = shape;
  const rows = graph.reshape(`${name}/rows`, x, [n * parts[0], h, parts[1], w * channels]);
  const moved = graph.transpose(`${name}/windows`, rows, [0, 2, 1, 3]);
  return graph.reshape(`${name}/cut`, moved, [n * parts[0] * parts[1], h, w, channels]);
}

/** [N * parts, h, w, C] -> [N, H, W, C] */
function join(graph: Graph, name: string, windows: string, shape: Shape, [h, w]: Pair, parts: Pair): void {
  const [n = 0, channels = 0, height = 0, width = 0] = shape;
  const rows = graph.reshape(`${name}/apart`, windows, [n * parts[0], parts[1], h, w * channels]);
  graph.reshape(name, graph.transpose(`${name}/together`, rows, [0, 2, 1, 3]), [n, height, width, channels]);
}

const rules: OpRules<[inputs: readonly string[], context: Context], void> = {
  input: ({ name, shape }, _inputs, { graph }) => {
    graph.nodes.push({
      name,
      op: 'Placeholder',
      input: [],
      attr: { dtype: attribute.type('DT_FLOAT'), shape: attribute.shape(channelsLast(shape)) },
    });
  },
  conv2d: (node, [x], context) => convolution(node, x!, context),
  batchNorm: ({ name, op }, [x], { graph, weight, inputShape }) => {
    const roles = ['weight', 'bias', 'running_mean', 'running_var'] as const;
    const parts = roles.map((role) => graph.floats(`${name}/${role}`, [inputShape[1] ?? 0], weight(role)));
    graph.add(name, 'FusedBatchNormV3', [x!, ...parts], {
      epsilon: attribute.float(Math.fround(op.eps)),
      is_training: attribute.bool(false),
      data_format: attribute.text('NHWC'),
    });
  },
  linear: (node, [x], context) => {
    const { graph, weight, inputShape } = context;
    const { name, op } = node;
    const [inFeatures, outFeatures] = [inputShape[1] ?? 0, op.outFeatures];
    const matrix = transposedFilter(weight('weight'), outFeatures, inFeatures, [1, 1]);
    const b = graph.floats(`${name}/matrix`, [inFeatures, outFeatures], matrix);
    const bias = biased(name, node, context, outFeatures);
    const fused = bias.length > 0 ? FUSED_BIAS : {};
    graph.add(name, bias.length > 0 ? '_FusedMatMul' : 'MatMul', [x!, b, ...bias], {
      transpose_a: attribute.bool(false),
      transpose_b: attribute.bool(false),
      ...fused,
    });
  },
  add: ({ name }, inputs, { graph }) => {
    const last = inputs.length - 1;
    const sum = (index: number) => (index === last ? name : `${name}/${index}`);
    inputs.reduce((before, input, index) => graph.add(sum(index), 'AddV2', [before, input]));
  },
  mul: ({ name }, inputs, { graph }) => void graph.add(name, 'Mul', inputs),
  scale: ({ name, op }, [x], { graph }) => {
    graph.add(name, 'Mul', [x!, graph.floats(`${name}/factor`, [], Float32Array.of(op.factor))]);
  },
  relu: ({ name }, inputs, { graph }) => void graph.add(name, 'Relu', inputs),
  gelu: ({ name }, [x], { graph }) => {
    const constant = (part: string, value: number) => graph.floats(`${name}/${part}`, [], Float32Array.of(value));
    const scaled = graph.add(`${name}/scaled`, 'Mul', [x!, constant('root_half', Math.SQRT1_2)]);
    const erf = graph.add(`${name}/erf`, 'Erf', [scaled]);
    const factor = graph.add(`${name}/add`, 'AddV2', [erf, constant('one', 1)]);
    const halved = graph.add(`${name}/halved`, 'Mul', [x!, constant('half', 0.5)]);
    graph.add(name, 'Mul', [halved, factor]);
  },
  sigmoid: ({ name }, inputs, { graph }) => void graph.add(name, 'Sigmoid', inputs),
  globalAvgPool: ({ name, op }, [x], { graph, inputShape: [n = 0, channels = 0, height = 0, width = 0] }) => {
    // Faster than Mean on every backend.
    const pooled = op.keepDims ? name : `${name}/pool`;
    graph.add(pooled, 'AvgPool', [x!], {
      ksize: attribute.wholes([1, height, width, 1]),
      strides: attribute.wholes([1, 1, 1, 1]),
      padding: attribute.text('VALID'),
      data_format: attribute.text('NHWC'),
    });
    if (!op.keepDims) graph.reshape(name, pooled, [n, channels]);
  },
  partition: (node, [x], { graph, inputShape }) => {
    const { parts, shape } = windowsOf(node, inputShape);
    const [r = 0, s = 0, h = 0, w = 0] = shape;
    const { name, op } = node;
    const windows = cut(graph, name, x!, inputShape, op.window, parts);
    const each = inputShape[1]! / s;
    const rows = graph.reshape(`${name}/sets`, windows, [r / each, h * w, each, s]);
    graph.reshape(name, graph.transpose(`${name}/moved`, rows, [0, 2, 1, 3]), [r, h, w, s]);
  },
  departition: ({ name, op, shape }, [x], { graph, inputShape: [, sets = 0, h = 0, w = 0] }) => {
    const [n = 0, channels = 0] = shape;
    const [count, each] = [op.parts[0] * op.parts[1], channels / sets];
    const rows = graph.reshape(`${name}/sets`, x!, [n, each, count * h * w, sets]);
    const moved = graph.transpose(`${name}/moved`, rows, [0, 2, 1, 3]);
    const windows = graph.reshape(`${name}/windows`, moved, [n * count, h, w, channels]);
    join(graph, name, windows, shape, [h, w], op.parts);
  },
  setLinear: ({ name, op, shape }, [x], { graph, weight }) => {
    const [r = 0, s = 0, h = 0, w = 0] = shape;
    const rows = graph.reshape(`${name}/rows`, x!, [r, h * w, s]);
    const columns = graph.transpose(`${name}/columns`, rows, [2, 1, 0]);
    const matrices = graph.floats(`${name}/matrices`, [s, h * w, h * w], weight('weight'));
    let product = graph.add(`${name}/product`, 'BatchMatMulV2', [matrices, columns]);
    if (op.bias) {
      const bias = graph.floats(`${name}/bias`, [s, h * w, 1], weight('bias'));
      product = graph.add(`${name}/biased`, 'AddV2', [product, bias]);
    }
    graph.reshape(name, graph.transpose(`${name}/back`, product, [2, 1, 0]), [r, h, w, s]);
  },
  windowLinear: (node, [x], { graph, weight }) => {
    const { name, op, shape } = node;
    const [n = 0, channels = 0] = shape;
    const { parts, shape: windows } = windowsOf(node, shape);
    const [r = 0, s = 0, h = 0, w = 0] = windows;
    const pixels = h * w;
    const perImage = parts[0] * parts[1];
    const each = channels / s;
    const cutUp = cut(graph, name, x!, shape, op.window, parts);
    const sets = graph.reshape(`${name}/sets`, cutUp, [n * perImage, pixels, each, s]);
    const moved = graph.transpose(`${name}/moved`, sets, [3, 1, 0, 2]);
    const columns = graph.reshape(`${name}/columns`, moved, [s, pixels, r]);
    const matrices = graph.floats(`${name}/matrices`, [s, pixels, pixels], weight('weight'));
    let product = graph.add(`${name}/product`, 'BatchMatMulV2', [matrices, columns]);
    if (op.bias && !op.affine) {
      const bias = graph.floats(`${name}/bias`, [s, pixels, 1], weight('bias'));
      product = graph.add(`${name}/biased`, 'AddV2', [product, bias]);
    }
    const linear = graph.reshape(`${name}/linear`, product, [s, pixels, n * perImage, each]);
    const last = graph.transpose(`${name}/last`, linear, [2, 1, 3, 0]);
    let maps = graph.reshape(`${name}/maps`, last, [n * perImage, pixels, channels]);
    if (op.affine) {
      const scale = graph.floats(`${name}/scale`, [channels], weight('scale'));
      const offset = graph.floats(`${name}/offset`, [pixels, channels], windowOffset(node, weight, 'channels last'));
      maps = graph.add(`${name}/affine`, 'AddV2', [graph.add(`${name}/scaled`, 'Mul', [maps, scale]), offset]);
    }
    // As partition writes its rows, (window, C/S), and departition reads them, (C/S, window).
    const rows = graph.reshape(`${name}/rows_written`, maps, [n * perImage, pixels, each, s]);
    const written = graph.transpose(`${name}/written`, rows, [0, 2, 1, 3]);
    const read = graph.reshape(`${name}/rows_read`, written, [n, each, perImage * pixels, s]);
    const order = graph.transpose(`${name}/read`, read, [0, 2, 1, 3]);
    join(
      graph,
      name,
      graph.reshape(`${name}/in_order`, order, [n * perImage, h, w, channels]),
      shape,
      op.window,
      parts,
    );
  },
};

/** [N, C, H, W] -> [N, H, W, C] */
function channelsLast(shape: Shape): Shape {
  return shape.length < 3 ? shape : [shape[0]!, ...shape.slice(2), shape[1]!];
}

function graphOf(network: Network, weights: Weights): Graph {
  const graph = new Graph();
  const nodes = nodesByName(network);
  const shapes = weightShapesByKey(network);
  for (const node of network.nodes) {
    applyRule(rules, node, node.inputs, {
      graph,
      inputShape: nodes.get(node.inputs[0] ?? '')?.shape ?? [],
      weight: (role) => weightOf(network, node.weights[role] ?? '', weights, shapes),
    });
  }
  return graph;
}

function weightOf(network: Network, key: string, weights: Weights, shapes: ReadonlyMap<string, Shape>): FloatArray {
  const tensor = weights.get(key);
  const needed = shapes.get(key) ?? [];
  if (tensor === undefined || tensor.data.length !== elements(needed)) {
    throw new InputError(
      `${key}: ${tensor === undefined ? 'not among the weights' : `${tensor.data.length} elements`}; ${network.name} needs ${elements(needed)}: give the weights of this network`,
    );
  }
  return tensor.data;
}

/** For any number of images: a size that the batch changes is the one that Reshape works out, -1. */
function graphOfAnyBatch(network: Network, weights: Weights): Graph {
  const [one, two] = [1, 2].map((batch) => graphOf(withBatch(network, batch), weights)) as [Graph, Graph];
  for (const [name, { shape, data }] of one.constants) {
    if (!(data instanceof Int32Array)) continue;
    const other = two.constants.get(name)!.data;
    one.constants.set(name, { shape, data: data.map((size, axis) => (size === other[axis] ? size : -1)) });
  }
  return one;
}

/** The weights one behind the other, in files of equal size but for the last. */
function shards(constants: readonly Constant[]): readonly Uint8Array[] {
  const total = constants.reduce((sum, { data }) => sum + data.byteLength, 0);
  const all = new Uint8Array(total);
  let offset = 0;
  for (const { data } of constants) {
    all.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  const count = Math.max(1, Math.ceil(total / SHARD_BYTES));
  return Array.from({ length: count }, (_, i) => all.subarray(i * SHARD_BYTES, (i + 1) * SHARD_BYTES));
}

/**
 * The network as the files of a graph-model folder, by name: the shards, then the `model.json` that names them. Weights are rounded to
 * float32. Its input is [N, H, W, C].
 * @throws InputError where a weight is missing or of another size, a name is taken, or TensorFlow.js has no such op
 */
export function writeTfjs(
  network: Network,
  weights: Weights,
  options: TfjsOptions = {},
): ReadonlyMap<string, Uint8Array> {
  const graph = (options.dynamicBatch ? graphOfAnyBatch : graphOf)(network, weights);
  const nameOf = valueNames(network, options);
  const values = nodesByName(network);
  const open = (shape: Shape) => (options.dynamicBatch ? [-1, ...shape.slice(1)] : shape);
  const signature = (names: readonly string[]) =>
    Object.fromEntries(
      names.map((name) => {
        const shape = open(channelsLast(values.get(name)?.shape ?? []));
        return [nameOf(name), { name: `${nameOf(name)}:0`, dtype: 'DT_FLOAT', tensorShape: dims(shape) }];
      }),
    );
  const node = graph.nodes.map((each): NodeDef => {
    const isOpen = each.op === 'Placeholder' && options.dynamicBatch;
    const shape = isOpen ? { shape: attribute.shape(open(channelsLast(values.get(each.name)!.shape))) } : {};
    return { ...each, name: nameOf(each.name), input: each.input.map(nameOf), attr: { ...each.attr, ...shape } };
  });
  const constants = [...graph.constants];
  const parts = shards(constants.map(([, constant]) => constant));
  // Named by their content: a folder that is written anew keeps the old ones whole until the new model.json is there.
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  const id = digest.digest('hex').slice(0, 16);
  const names = parts.map((_, i) => `weights-${id}-shard${i + 1}of${parts.length}.bin`);
  const model = {
    format: 'graph-model',
    generatedBy: 'fuseproof',
    convertedBy: null,
    signature: { inputs: signature(network.inputs), outputs: signature([network.output]) },
    modelTopology: { node, library: {}, versions: {} },
    weightsManifest: [
      {
        paths: names,
        weights: constants.map(([name, { shape, data }]) => ({
          name,
          shape,
          dtype: data instanceof Int32Array ? 'int32' : 'float32',
        })),
      },
    ],
  };
  return new Map([
    ...parts.map((part, i) => [names[i]!, part] as const),
    ['model.json', Uint8Array.from(Buffer.from(`${JSON.stringify(model)}\n`))],
  ]);
}
