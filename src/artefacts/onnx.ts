import protobuf from 'protobufjs/light.js';
import { InputError } from '../network/errors.ts';
import { nodesByName, weightShapesByKey, withBatch } from '../network/graph.ts';
import type { Network, Node, OpRules, Pair, Role } from '../network/ops.ts';
import { applyRule } from '../network/ops.ts';
import { windowsOf } from '../network/shapes.ts';
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
  type AttributeProto,
  attributeType,
  elementType,
  type NodeProto,
  onnxMessages,
  valueInfo,
} from './onnx-messages.ts';
import { type ValueNames, valueNames } from './value-names.ts';
import { windowOffset } from './window-offset.ts';

/** The first opset in which Gelu is one op: below, it is five, and only some runtimes put them together again. */
export const DEFAULT_OPSET = 20;

/** The oldest IR version that carries each opset (ONNX's Versioning.md), so that old runtimes read the file too. */
const IR_VERSIONS: ReadonlyMap<number, number> = new Map([
  [13, 7],
  [14, 7],
  [15, 8],
  [16, 8],
  [17, 8],
  [18, 8],
  [19, 9],
  [20, 9],
  [21, 10],
  [22, 10],
  [23, 11],
]);

/** A protobuf message cannot be longer: its readers count bytes in a signed 32-bit integer. */
const PROTOBUF_LIMIT = 2 ** 31 - 1;

export interface OnnxOptions extends ValueNames {
  /** Version of the operator set, 13 to 23; 20 by default. */
  readonly opset?: number;
  /** Leaves the number of images open, as the dimension `batch`; fixed to the network's by default. */
  readonly dynamicBatch?: boolean;
}

interface Context {
  readonly opset: number;
  /** Shape of the node's first input. */
  readonly inputShape: Shape;
  /** Adds a scalar initializer and returns its name. */
  constant(name: string, value: number): string;
  /** Adds an initializer of float32 and returns its name. */
  floats(name: string, dims: Shape, data: Float32Array): string;
  /** Adds a vector of int64 as an initializer and returns its name. */
  integers(name: string, values: readonly number[]): string;
  /** The node's weight of this role, as given. */
  weight(role: Role): FloatArray;
  /** Stores the node's weight of this role with other dimensions than the state_dict's, and returns its name. */
  reshaped(role: Role, dims: Shape): string;
}

const attributes = {
  int: (name: string, i: number): AttributeProto => ({ name, type: attributeType.int, i }),
  float: (name: string, f: number): AttributeProto => ({ name, type: attributeType.float, f }),
  ints: (name: string, ints: readonly number[]): AttributeProto => ({ name, type: attributeType.ints, ints }),
  string: (name: string, s: string): AttributeProto => ({ name, type: attributeType.string, s: Buffer.from(s) }),
};

function onnxNode(
  op_type: string,
  output: string,
  input: readonly string[],
  attribute: readonly AttributeProto[] = [],
): NodeProto {
  return { op_type, name: output, input, output: [output], attribute };
}

/** x * 0.5 * (1 + erf(x / sqrt 2)), op for op as PyTorch exports it: runtimes fuse exactly this pattern. */
function composedGelu(name: string, input: string, { constant }: Context): NodeProto[] {
  return [
    onnxNode('Div', `${name}/div`, [input, constant(`${name}/sqrt2`, Math.SQRT2)]),
    onnxNode('Erf', `${name}/erf`, [`${name}/div`]),
    onnxNode('Add', `${name}/add`, [`${name}/erf`, constant(`${name}/one`, 1)]),
    onnxNode('Mul', `${name}/mul`, [input, `${name}/add`]),
    onnxNode('Mul', name, [`${name}/mul`, constant(`${name}/half`, 0.5)]),
  ];
}

/**
 * A transposition without the axes of length 1, and with axes merged that stay neighbours: ONNX Runtime is up to twice as
 * fast on few long axes. An `order` of one axis at most leaves the data where it lies.
 */
function simplified(
  dims: Shape,
  order: readonly number[],
): { readonly dims: Shape; readonly order: readonly number[] } {
  const axes = [...dims.keys()].filter((axis) => dims[axis] !== 1);
  const moved = order.filter((axis) => dims[axis] !== 1).map((axis) => axes.indexOf(axis));
  const heads = moved.filter((axis, i) => i === 0 || axis !== moved[i - 1]! + 1); // the first axis of each run
  const sorted = [...heads].sort((a, b) => a - b);
  const run = (head: number, i: number) => elements(axes.slice(head, sorted[i + 1]).map((axis) => dims[axis]!));
  return { dims: sorted.map(run), order: heads.map((head) => sorted.indexOf(head)) };
}

/** Takes the input as `dims`, puts its axes into `order`, and gives the result as `shape`. */
function rearranged(
  name: string,
  input: string,
  [dims, order]: readonly [Shape, readonly number[]],
  shape: Shape,
  { integers }: Context,
): NodeProto[] {
  const reshape = (output: string, data: string, sizes: Shape) =>
    onnxNode('Reshape', output, [data, integers(`${output}/shape`, sizes)]);
  const simple = simplified(dims, order);
  if (simple.order.length < 2) return [reshape(name, input, shape)];
  return [
    reshape(`${name}/axes`, input, simple.dims),
    onnxNode('Transpose', `${name}/moved`, [`${name}/axes`], [attributes.ints('perm', simple.order)]),
    reshape(name, `${name}/moved`, shape),
  ];
}

/** [N, C, H, W] to windows, [N, H/h, W/w, C, h, w]: axes of the map [N, C, H/h, h, W/w, w], in their new order. */
function cutAxes([n = 0, channels = 0]: Shape, [h, w]: Pair, parts: Pair) {
  return [
    [n, channels, parts[0], h, parts[1], w],
    [0, 2, 4, 1, 3, 5],
  ] as const;
}

/** Windows [N, C/S, H/h, W/w, S, h, w] back to [N, C/S, S, H/h, h, W/w, w]. */
function joinAxes([n = 0, channels = 0]: Shape, sets: number, [h, w]: Pair, parts: Pair) {
  return [
    [n, channels / sets, ...parts, sets, h, w],
    [0, 1, 4, 2, 5, 3, 6],
  ] as const;
}

/**
 * Weights times windows: [S, h*w, h*w] x [S, h*w, R]. ONNX Runtime reads the left factor where it lies and packs the
 * right one at each run: on RepMLPNet-T224 weights on the right took twice as long, one Gemm a share-set 1.5 times, but in
 * the last stage, where all take 0.1 ms.
 */
function windowProduct(node: Node<'windowLinear'>, input: string, context: Context): NodeProto[] {
  const { name, op, shape } = node;
  const [n = 0, channels = 0] = shape;
  const { shape: windows, parts } = windowsOf(node, shape);
  const [r = 0, s = 0, h = 0, w = 0] = windows;
  // [N, C/S, S, H/h, h, W/w, w] -> [S, h, w, N, H/h, W/w, C/S]
  const columns = [
    [n, channels / s, s, parts[0], h, parts[1], w],
    [2, 4, 6, 0, 3, 5, 1],
  ] as const;
  const back = [
    [s, h * w, r],
    [2, 0, 1],
  ] as const;
  const join = (from: string) => rearranged(name, from, joinAxes(shape, s, op.window, parts), shape, context);
  const product = [
    ...rearranged(`${name}/columns`, input, columns, [s, h * w, r], context),
    onnxNode('MatMul', `${name}/product`, [context.reshaped('weight', [s, h * w, h * w]), `${name}/columns`]),
  ];
  if (op.affine) {
    const offset = windowOffset(node, context.weight, 'channels first');
    return [
      ...product,
      ...rearranged(`${name}/linear`, `${name}/product`, back, [(r * s) / channels, channels, h * w], context),
      onnxNode('Mul', `${name}/scaled`, [`${name}/linear`, context.reshaped('scale', [channels, 1])]),
      onnxNode('Add', `${name}/affine`, [
        `${name}/scaled`,
        context.floats(`${name}/offset`, [channels, h * w], offset),
      ]),
      ...join(`${name}/affine`),
    ];
  }
  const linear = rearranged(`${name}/linear`, `${name}/product`, back, [r, s * h * w], context);
  if (!op.bias) return [...product, ...linear, ...join(`${name}/linear`)];
  return [
    ...product,
    ...linear,
    onnxNode('Add', `${name}/biased`, [`${name}/linear`, node.weights.bias ?? '']),
    ...join(`${name}/biased`),
  ];
}

const rules: OpRules<[inputs: readonly string[], weights: readonly string[], context: Context], NodeProto[]> = {
  input: () => [],
  conv2d: ({ name, op }, inputs, weights) => [
    onnxNode(
      'Conv',
      name,
      [...inputs, ...weights],
      [
        attributes.ints('kernel_shape', op.kernel),
        attributes.ints('strides', op.stride),
        attributes.ints('pads', [...op.padding, ...op.padding]), // [top, left, bottom, right]
        attributes.ints('dilations', op.dilation),
        attributes.int('group', op.groups),
      ],
    ),
  ],
  batchNorm: ({ name, op }, inputs, weights) => [
    onnxNode('BatchNormalization', name, [...inputs, ...weights], [attributes.float('epsilon', op.eps)]),
  ],
  linear: ({ name }, inputs, weights) => [
    onnxNode('Gemm', name, [...inputs, ...weights], [attributes.int('transB', 1)]),
  ],
  add: ({ name }, inputs) => {
    const last = inputs.length - 1;
    const sum = (index: number): string => (index === last ? name : `${name}/${index}`);
    return inputs
      .slice(1)
      .map((input, index) => onnxNode('Add', sum(index + 1), [index === 0 ? inputs[0]! : sum(index), input]));
  },
  mul: ({ name }, inputs) => [onnxNode('Mul', name, inputs)],
  scale: ({ name, op }, inputs, _weights, { constant }) => [
    onnxNode('Mul', name, [...inputs, constant(`${name}/factor`, op.factor)]),
  ],
  relu: ({ name }, inputs) => [onnxNode('Relu', name, inputs)],
  gelu: ({ name }, inputs, _weights, context) =>
    context.opset >= 20
      ? [onnxNode('Gelu', name, inputs, [attributes.string('approximate', 'none')])]
      : composedGelu(name, inputs[0]!, context),
  sigmoid: ({ name }, inputs) => [onnxNode('Sigmoid', name, inputs)],
  globalAvgPool: ({ name, op }, inputs) =>
    op.keepDims
      ? [onnxNode('GlobalAveragePool', name, inputs)]
      : [
          onnxNode('GlobalAveragePool', `${name}/pool`, inputs),
          onnxNode('Flatten', name, [`${name}/pool`], [attributes.int('axis', 1)]),
        ],
  partition: (node, [x], _weights, context) => {
    const { parts } = windowsOf(node, context.inputShape);
    return rearranged(node.name, x!, cutAxes(context.inputShape, node.op.window, parts), node.shape, context);
  },
  departition: ({ name, op, shape }, [x], _weights, context) => {
    const [, s = 0, h = 0, w = 0] = context.inputShape;
    return rearranged(name, x!, joinAxes(shape, s, [h, w], op.parts), shape, context);
  },
  setLinear: ({ name, shape }, [x], weights, { integers }) => {
    const [r = 0, s = 0, h = 0, w = 0] = shape;
    const rows = `${name}/rows`;
    return [
      onnxNode('Reshape', rows, [x!, integers(`${rows}/shape`, [r, s * h * w, 1, 1])]),
      onnxNode(
        'Conv',
        `${name}/conv`,
        [rows, ...weights],
        [attributes.ints('kernel_shape', [1, 1]), attributes.int('group', s)],
      ),
      onnxNode('Reshape', name, [`${name}/conv`, integers(`${name}/shape`, shape)]),
    ];
  },
  windowLinear: (node, [x], _weights, context) => windowProduct(node, x!, context),
};

/** PyTorch's order, which is also that of the inputs of Conv, Gemm and BatchNormalization. */
function weightKeys({ weights }: Node): string[] {
  return [weights.weight, weights.bias, weights.running_mean, weights.running_var].filter((key) => key !== undefined);
}

/** An initializer but for its data. */
interface Initializer {
  readonly name: string;
  readonly dims: Shape;
  readonly data: FloatArray | BigInt64Array;
}

function checkedWeight(network: Network, key: string, shape: Shape, weights: Weights): Tensor {
  const tensor: Tensor | undefined = weights.get(key);
  if (tensor === undefined) {
    throw new InputError(
      `${key}: not among the ${weights.size} weights; give ${network.name} a tensor of shape ${formatShape(shape)} of that name`,
    );
  }
  if (!sameShape(tensor.shape, shape)) {
    throw new InputError(
      `${key}: shape ${formatShape(tensor.shape)}; ${network.name} needs ${formatShape(shape)}: give the weights of this network`,
    );
  }
  return tensor;
}

let messages: protobuf.Root | undefined;

function messageType(name: string): protobuf.Type {
  messages ??= protobuf.Root.fromJSON(onnxMessages);
  return messages.lookupType(name);
}

function byteLength(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

/** The bytes of one field that holds bytes or a message, in the chunks given. */
function field(message: string, name: string, chunks: readonly Uint8Array[]): Uint8Array[] {
  const lengthDelimited = 2; // wire type
  const { id } = messageType(message).get(name) as protobuf.Field;
  const header = protobuf.Writer.create().uint32((id << 3) | lengthDelimited);
  return [header.uint32(byteLength(chunks)).finish(), ...chunks];
}

function encode(message: string, value: object): Uint8Array {
  return messageType(message).encode(value).finish();
}

function initializerChunks({ name, dims, data }: Initializer): Uint8Array[] {
  const whole = data instanceof BigInt64Array;
  const stored = whole ? data : toFloat32({ shape: dims, data }).data;
  const head = encode('TensorProto', { name, dims, data_type: whole ? elementType.int64 : elementType.float });
  // Typed arrays are little-endian on every machine that Node.js and ONNX Runtime have builds for but s390x.
  const raw = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  return field('GraphProto', 'initializer', [head, ...field('TensorProto', 'raw_data', [raw])]);
}

/** A graph but for its inputs and outputs. */
interface Graph {
  readonly nodes: readonly NodeProto[];
  readonly initializers: ReadonlyMap<string, Initializer>;
}

function graphOf(network: Network, weights: Weights, opset: number): Graph {
  const initializers = new Map<string, Initializer>();
  const add = (name: string, dims: Shape, data: Initializer['data']): string => {
    initializers.set(name, { name, dims, data });
    return name;
  };
  for (const [key, shape] of weightShapesByKey(network)) {
    add(key, shape, checkedWeight(network, key, shape, weights).data);
  }
  const shapes = new Map(network.nodes.map((node) => [node.name, node.shape]));
  const contextOf = (node: Node): Context => {
    const key = (role: Role) => node.weights[role] ?? '';
    const weight = (role: Role) => weights.get(key(role))!.data; // checked above
    return {
      opset,
      inputShape: shapes.get(node.inputs[0] ?? '') ?? [],
      constant: (name, value) => add(name, [], Float32Array.of(value)),
      floats: add,
      integers: (name, values) => add(name, [values.length], BigInt64Array.from(values, BigInt)),
      weight,
      reshaped: (role, dims) => add(key(role), dims, weight(role)),
    };
  };
  const nodes = network.nodes.flatMap((node) => applyRule(rules, node, node.inputs, weightKeys(node), contextOf(node)));
  return { nodes, initializers };
}

/** The graph for any number of images: a size that the batch changes is the one that Reshape works out, -1. */
function graphOfAnyBatch(network: Network, weights: Weights, opset: number): Graph {
  // Two sizes of which neither is 1: an axis of length 1 may be left out.
  const [two, three] = [2, 3].map((batch) => graphOf(withBatch(network, batch), weights, opset)) as [Graph, Graph];
  const initializers = new Map(two.initializers);
  for (const [name, initializer] of two.initializers) {
    const other = three.initializers.get(name)!;
    if (!(initializer.data instanceof BigInt64Array)) continue;
    const data = initializer.data.map((size, axis) => (size === other.data[axis] ? size : -1n));
    initializers.set(name, { ...initializer, data });
  }
  return { nodes: two.nodes, initializers };
}

/**
 * The network as an ONNX model: input shapes fixed, batch included unless it is left open; values named as the nodes that
 * compute them, initializers as the state_dict keys, both float32. Shift, row sums and bias of an affine windowLinear are
 * one constant, computed in float64. Float64 weights, `scale`'s factor and `batchNorm`'s eps are rounded
 * to nearest. Ops: https://onnx.ai/onnx/operators/.
 * @throws InputError where a weight is missing or of another shape, the opset is not known, a name is taken, or the model
 * is longer than protobuf's 2 GiB
 */
export function writeOnnx(network: Network, weights: Weights, options: OnnxOptions = {}): Uint8Array {
  const opset = options.opset ?? DEFAULT_OPSET;
  const irVersion = IR_VERSIONS.get(opset);
  if (irVersion === undefined) {
    const known = [...IR_VERSIONS.keys()];
    throw new InputError(
      `opset ${opset} is not one that can be written; give a whole number from ${Math.min(...known)} to ${Math.max(...known)}`,
    );
  }

  const { nodes, initializers } = (options.dynamicBatch ? graphOfAnyBatch : graphOf)(network, weights, opset);
  const nameOf = valueNames(network, options);
  const shapes = nodesByName(network);
  const value = (name: string) => {
    const [batch = 1, ...rest] = shapes.get(name)?.shape ?? [];
    return valueInfo(nameOf(name), elementType.float, [options.dynamicBatch ? 'batch' : batch, ...rest]);
  };
  const used = new Set(nodes.flatMap(({ input }) => input)); // weights that went into a constant are not
  const graph = encode('GraphProto', {
    name: network.name,
    node: nodes.map((node) => ({ ...node, input: node.input.map(nameOf), output: node.output.map(nameOf) })),
    input: network.inputs.map(value),
    output: [value(network.output)],
  });
  const model = encode('ModelProto', {
    ir_version: irVersion,
    producer_name: 'fuseproof',
    opset_import: [{ domain: '', version: opset }],
  });

  // The fields of a protobuf message may be encoded apart and put together, so each weight is copied just once, here.
  const stored = [...initializers.values()].filter(({ name }) => used.has(name));
  const chunks = [model, ...field('ModelProto', 'graph', [graph, ...stored.flatMap(initializerChunks)])];
  const length = byteLength(chunks);
  if (length > PROTOBUF_LIMIT) {
    throw new InputError(
      `${network.name}: its ONNX model would have ${length} bytes; a protobuf message holds at most ${PROTOBUF_LIMIT} (2 GiB): write the weights as safetensors instead`,
    );
  }
  return Buffer.concat(chunks, length);
}
