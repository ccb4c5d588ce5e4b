import protobuf from 'protobufjs/light.js';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Node, OpRules } from '../network/ops.ts';
import { applyRule } from '../network/ops.ts';
import { formatShape, type Shape, sameShape, type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import {
  type AttributeProto,
  attributeType,
  elementType,
  type NodeProto,
  onnxMessages,
  valueInfo,
} from './onnx-messages.ts';

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

export interface OnnxOptions {
  /** Version of the operator set, 13 to 23; 20 by default. */
  readonly opset?: number;
}

interface Context {
  readonly opset: number;
  /** Adds a scalar initializer and returns its name. */
  constant(name: string, value: number): string;
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
};

/** PyTorch's order, which is also that of the inputs of Conv, Gemm and BatchNormalization. */
function weightKeys({ weights }: Node): string[] {
  return [weights.weight, weights.bias, weights.running_mean, weights.running_var].filter((key) => key !== undefined);
}

/** An initializer but for its data. */
interface Initializer {
  readonly name: string;
  readonly dims: Shape;
  readonly data: Float32Array;
}

function initializer(network: Network, key: string, shape: Shape, weights: Weights): Initializer {
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
  return { name: key, dims: shape, data: toFloat32(tensor).data };
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
  const head = encode('TensorProto', { name, dims, data_type: elementType.float });
  // Typed arrays are little-endian on every machine that Node.js and ONNX Runtime have builds for but s390x.
  const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return field('GraphProto', 'initializer', [head, ...field('TensorProto', 'raw_data', [raw])]);
}

/**
 * The network as an ONNX model: input shapes fixed, batch included; values named as the nodes that compute them,
 * initializers as the state_dict keys, both float32. Float64 weights, `scale`'s factor and `batchNorm`'s eps are rounded
 * to nearest. Ops: https://onnx.ai/onnx/operators/.
 * @throws InputError where a weight is missing or of another shape, the opset is not known, or the model is longer than
 * protobuf's 2 GiB
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

  const initializers = [...weightShapesByKey(network)].map(([key, shape]) => initializer(network, key, shape, weights));
  const context: Context = {
    opset,
    constant(name, value) {
      initializers.push({ name, dims: [], data: Float32Array.of(value) });
      return name;
    },
  };
  const shapes = new Map(network.nodes.map((node) => [node.name, node.shape]));
  const value = (name: string) => valueInfo(name, elementType.float, shapes.get(name) ?? []);
  const graph = encode('GraphProto', {
    name: network.name,
    node: network.nodes.flatMap((node) => applyRule(rules, node, node.inputs, weightKeys(node), context)),
    input: network.inputs.map(value),
    output: [value(network.output)],
  });
  const model = encode('ModelProto', {
    ir_version: irVersion,
    producer_name: 'fuseproof',
    opset_import: [{ domain: '', version: opset }],
  });

  // The fields of a protobuf message may be encoded apart and put together, so each weight is copied just once, here.
  const chunks = [model, ...field('ModelProto', 'graph', [graph, ...initializers.flatMap(initializerChunks)])];
  const length = byteLength(chunks);
  if (length > PROTOBUF_LIMIT) {
    throw new InputError(
      `${network.name}: its ONNX model would have ${length} bytes; a protobuf message holds at most ${PROTOBUF_LIMIT} (2 GiB): write the weights as safetensors instead`,
    );
  }
  return Buffer.concat(chunks, length);
}
