import protobuf from 'protobufjs/light.js';
import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Op } from '../network/ops.ts';
import { elements, type Shape, type Weights } from '../network/tensor.ts';
import { type OnnxOptions, writeOnnx } from './onnx.ts';
import { onnxMessages } from './onnx-messages.ts';

/** The inputs x0, x1, ... through one op named y. */
function oneNode(op: Op, ...shapes: Shape[]): Network {
  const builder = new NetworkBuilder(op.kind);
  const inputs = shapes.map((shape, index) => builder.input(`x${index}`, shape));
  return builder.build(builder.add('y', op, inputs));
}

function ramp(network: Network): Weights<Float32Array> {
  const tensors = [...weightShapesByKey(network)].map(([key, shape]) => {
    const data = Float32Array.from({ length: elements(shape) }, (_, index) => index + 0.5);
    return [key, { shape, data }] as const;
  });
  return new Map(tensors);
}

function read(bytes: Uint8Array) {
  const type = protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
  const model = type.toObject(type.decode(bytes), { longs: Number, bytes: Array, arrays: true });
  // Only readers know data in lists and in files beside the model.
  for (const initializer of model.graph.initializer) {
    for (const list of ['float_data', 'double_data', 'int32_data', 'int64_data', 'external_data']) {
      expect(initializer[list]).toEqual([]);
      delete initializer[list];
    }
  }
  return model;
}

/** Each node as `Op(inputs) -> outputs {attributes}`. */
function nodes(network: Network, options?: OnnxOptions): string[] {
  const { graph } = read(writeOnnx(network, ramp(network), options));
  return graph.node.map((node: Record<string, unknown[]>) => {
    const attributes = (node.attribute as Record<string, unknown>[]).map(({ name, f, i, s, ints }) => {
      const text = s === undefined ? undefined : Buffer.from(s as number[]).toString();
      return ` ${name}=${f ?? i ?? text ?? JSON.stringify(ints)}`;
    });
    return `${node.op_type}(${node.input?.join(' ')}) -> ${node.output?.join(' ')}${attributes.join('')}`;
  });
}

const conv: Op = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 2],
  stride: [2, 1],
  padding: [1, 0],
  dilation: [1, 3],
  groups: 2,
  bias: true,
};
const map: Shape = [1, 2, 7, 8];

const table: readonly [string, Network, readonly string[]][] = [
  [
    'conv2d',
    oneNode(conv, map),
    ['Conv(x0 y.weight y.bias) -> y kernel_shape=[3,2] strides=[2,1] pads=[1,0,1,0] dilations=[1,3] group=2'],
  ],
  [
    'batchNorm',
    oneNode({ kind: 'batchNorm', eps: 2 ** -17 }, map),
    [`BatchNormalization(x0 y.weight y.bias y.running_mean y.running_var) -> y epsilon=${2 ** -17}`],
  ],
  [
    'linear',
    oneNode({ kind: 'linear', outFeatures: 3, bias: true }, [2, 5]),
    ['Gemm(x0 y.weight y.bias) -> y transB=1'],
  ],
  [
    'linear without bias',
    oneNode({ kind: 'linear', outFeatures: 3, bias: false }, [2, 5]),
    ['Gemm(x0 y.weight) -> y transB=1'],
  ],
  [
    'add, left to right',
    oneNode({ kind: 'add' }, map, map, map, map),
    ['Add(x0 x1) -> y/1', 'Add(y/1 x2) -> y/2', 'Add(y/2 x3) -> y'],
  ],
  ['mul', oneNode({ kind: 'mul' }, map, [1, 2, 1, 1]), ['Mul(x0 x1) -> y']],
  ['scale', oneNode({ kind: 'scale', factor: 0.5 }, map), ['Mul(x0 y/factor) -> y']],
  ['relu', oneNode({ kind: 'relu' }, map), ['Relu(x0) -> y']],
  ['gelu', oneNode({ kind: 'gelu' }, map), ['Gelu(x0) -> y approximate=none']],
  ['sigmoid', oneNode({ kind: 'sigmoid' }, map), ['Sigmoid(x0) -> y']],
  [
    'globalAvgPool',
    oneNode({ kind: 'globalAvgPool', keepDims: false }, map),
    ['GlobalAveragePool(x0) -> y/pool', 'Flatten(y/pool) -> y axis=1'],
  ],
  [
    'globalAvgPool with keepDims',
    oneNode({ kind: 'globalAvgPool', keepDims: true }, map),
    ['GlobalAveragePool(x0) -> y'],
  ],
  [
    'partition',
    oneNode({ kind: 'partition', window: [3, 4], sets: 2 }, [2, 4, 6, 8]),
    [
      'Reshape(x0 y/axes/shape) -> y/axes',
      'Transpose(y/axes) -> y/moved perm=[0,2,4,1,3,5]',
      'Reshape(y/moved y/shape) -> y',
    ],
  ],
  [
    'partition of whole maps moves nothing',
    oneNode({ kind: 'partition', window: [6, 8], sets: 2 }, [2, 4, 6, 8]),
    ['Reshape(x0 y/shape) -> y'],
  ],
  [
    'departition; image and channel / S stay neighbours',
    oneNode({ kind: 'departition', channels: 4, parts: [2, 2] }, [16, 2, 3, 4]),
    [
      'Reshape(x0 y/axes/shape) -> y/axes',
      'Transpose(y/axes) -> y/moved perm=[0,3,1,4,2,5]',
      'Reshape(y/moved y/shape) -> y',
    ],
  ],
  [
    'setLinear is a grouped convolution',
    oneNode({ kind: 'setLinear', bias: true }, [5, 3, 2, 4]),
    [
      'Reshape(x0 y/rows/shape) -> y/rows',
      'Conv(y/rows y.weight y.bias) -> y/conv kernel_shape=[1,1] group=3',
      'Reshape(y/conv y/shape) -> y',
    ],
  ],
  [
    'windowLinear of whole maps: one transposition before the product and one behind it',
    oneNode({ kind: 'windowLinear', window: [3, 5], sets: 2, bias: true, affine: true }, [1, 4, 3, 5]),
    [
      'Reshape(x0 y/columns/axes/shape) -> y/columns/axes',
      'Transpose(y/columns/axes) -> y/columns/moved perm=[1,0]',
      'Reshape(y/columns/moved y/columns/shape) -> y/columns',
      'MatMul(y.weight y/columns) -> y/product',
      'Reshape(y/product y/linear/axes/shape) -> y/linear/axes',
      'Transpose(y/linear/axes) -> y/linear/moved perm=[1,0]',
      'Reshape(y/linear/moved y/linear/shape) -> y/linear',
      'Mul(y/linear y.scale) -> y/scaled',
      'Add(y/scaled y/offset) -> y/affine',
      'Reshape(y/affine y/shape) -> y',
    ],
  ],
  [
    'windowLinear of several windows',
    oneNode({ kind: 'windowLinear', window: [3, 5], sets: 2, bias: true, affine: false }, [2, 4, 6, 15]),
    [
      'Reshape(x0 y/columns/axes/shape) -> y/columns/axes',
      'Transpose(y/columns/axes) -> y/columns/moved perm=[2,4,6,0,3,5,1]',
      'Reshape(y/columns/moved y/columns/shape) -> y/columns',
      'MatMul(y.weight y/columns) -> y/product',
      'Reshape(y/product y/linear/axes/shape) -> y/linear/axes',
      'Transpose(y/linear/axes) -> y/linear/moved perm=[1,0]',
      'Reshape(y/linear/moved y/linear/shape) -> y/linear',
      'Add(y/linear y.bias) -> y/biased',
      'Reshape(y/biased y/axes/shape) -> y/axes',
      'Transpose(y/axes) -> y/moved perm=[0,3,1,4,2,5]',
      'Reshape(y/moved y/shape) -> y',
    ],
  ],
];

describe('writeOnnx', () => {
  test.each(table)('%s', (_name, network, expected) => {
    expect(nodes(network)).toEqual(expected);
  });

  test('gelu below opset 20 is the pattern that PyTorch exports', () => {
    expect(nodes(oneNode({ kind: 'gelu' }, map), { opset: 19 })).toEqual([
      'Div(x0 y/sqrt2) -> y/div',
      'Erf(y/div) -> y/erf',
      'Add(y/erf y/one) -> y/add',
      'Mul(x0 y/add) -> y/mul',
      'Mul(y/mul y/half) -> y',
    ]);
  });

  test('says producer, opset, IR version, inputs and output', () => {
    const network = oneNode({ kind: 'mul' }, [2, 3, 5, 7], [2, 3, 1, 1]);
    const { graph, ...model } = read(writeOnnx(network, ramp(network)));
    expect(model).toEqual({
      ir_version: 9,
      producer_name: 'fuseproof',
      opset_import: [{ domain: '', version: 20 }],
    });
    const float = (name: string, sizes: number[]) => ({
      name,
      type: { tensor_type: { elem_type: 1, shape: { dim: sizes.map((dim_value) => ({ dim_value })) } } },
    });
    expect(graph.name).toBe('mul');
    expect(graph.input).toEqual([float('x0', [2, 3, 5, 7]), float('x1', [2, 3, 1, 1])]);
    expect(graph.output).toEqual([float('y', [2, 3, 5, 7])]);
  });

  test('initializers are little-endian float32 under the state_dict keys, read from where the weights lie', () => {
    const network = oneNode({ kind: 'linear', outFeatures: 1, bias: true }, [1, 2]);
    const shared = Float32Array.of(9, 1, -2, 9);
    const weights: Weights = new Map([
      ['y.weight', { shape: [1, 2], data: shared.subarray(1, 3) }],
      ['y.bias', { shape: [1], data: Float32Array.of(0.1) }],
      ['other', { shape: [1], data: Float32Array.of(3) }],
    ]);
    expect(read(writeOnnx(network, weights)).graph.initializer).toEqual([
      { name: 'y.weight', data_type: 1, dims: [1, 2], raw_data: [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0] },
      { name: 'y.bias', data_type: 1, dims: [1], raw_data: [0xcd, 0xcc, 0xcc, 0x3d] },
    ]);
  });

  test('shapes are vectors of little-endian int64', () => {
    const network = oneNode({ kind: 'partition', window: [2, 300], sets: 2 }, [1, 2, 2, 300]);
    const long = (value: number) => [...new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)];
    expect(read(writeOnnx(network, new Map())).graph.initializer).toEqual([
      { name: 'y/shape', data_type: 7, dims: [4], raw_data: [1, 2, 2, 300].flatMap(long) },
    ]);
    expect(long(300)).toEqual([44, 1, 0, 0, 0, 0, 0, 0]);
  });

  test("an affine windowLinear's shift, row sums and bias are one constant, rounded once", () => {
    const network = oneNode({ kind: 'windowLinear', window: [1, 2], sets: 2, bias: true, affine: true }, [1, 4, 1, 2]);
    const tiny = 2 ** -24; // half of the last place of 1
    const weights: Weights = new Map([
      ...ramp(network),
      ['y.shift', { shape: [4], data: Float32Array.of(1, 2, 3, 1 + 2 ** -23) }],
      ['y.row_sum', { shape: [4], data: Float32Array.of(10, 20, 30, 1 - tiny) }],
      ['y.bias', { shape: [4], data: Float32Array.of(0.5, 0.25, -30, 2 ** -46) }],
    ]);
    const { graph } = read(writeOnnx(network, weights));
    const stored = new Map(graph.initializer.map((tensor: { name: string }) => [tensor.name, tensor]));
    const floats = (values: number[]) => [...new Uint8Array(Float32Array.from(values).buffer)];
    expect([...stored.keys()].filter((name) => !String(name).endsWith('/shape'))).toEqual([
      'y.weight',
      'y.scale',
      'y/offset',
    ]);
    expect(stored.get('y.weight')).toMatchObject({ dims: [2, 2, 2] });
    expect(stored.get('y.scale')).toMatchObject({ dims: [4, 1] });
    // (1 + 2^-23) (1 - 2^-24) + 2^-46 = 1 + 2^-24 + 2^-47 rounds up; the product alone rounds to 1, and the sum then too.
    const last = 1 + 2 ** -23;
    expect(stored.get('y/offset')).toEqual({
      name: 'y/offset',
      data_type: 1,
      dims: [4, 2],
      // channel c reads share-set c % 2
      raw_data: floats([10.5, 20.25, 2 * 30 - 30, 2 * (1 - tiny), 30.5, 60.25, 30 * (1 + 2 ** -23) - 30, last]),
    });
  });

  test('float64 weights are rounded once, to the same bytes as float32 ones', () => {
    const network = oneNode({ kind: 'linear', outFeatures: 1, bias: false }, [1, 1]);
    const value = 1 + 2 ** -24 + 2 ** -40; // just above the tie: rounds up
    const weight = (data: Float32Array | Float64Array): Weights => new Map([['y.weight', { shape: [1, 1], data }]]);
    const bytes = writeOnnx(network, weight(Float64Array.of(value)));
    expect(bytes).toEqual(writeOnnx(network, weight(Float32Array.of(1 + 2 ** -23))));
  });

  test('a weight that two nodes share is written once', () => {
    const builder = new NetworkBuilder('twice');
    builder.input('x', [1, 2]);
    builder.add('a', { kind: 'linear', outFeatures: 2, bias: false }, ['x']);
    builder.add('b', { kind: 'linear', outFeatures: 2, bias: false }, ['a']);
    const network = builder.build('b');
    const tied: Network = {
      ...network,
      nodes: network.nodes.map((node) => (node.name === 'b' ? { ...node, weights: { weight: 'a.weight' } } : node)),
    };
    const { graph } = read(writeOnnx(tied, ramp(tied)));
    expect(graph.initializer.map(({ name }: { name: string }) => name)).toEqual(['a.weight']);
    expect(nodes(tied)).toEqual(['Gemm(x a.weight) -> a transB=1', 'Gemm(a a.weight) -> b transB=1']);
  });

  test('a model beyond 2 GiB is refused, with its size', () => {
    const builder = new NetworkBuilder('large');
    let last = builder.input('x', [1, 4096]);
    for (let layer = 0; layer < 32; layer++) {
      last = builder.add(`layer${layer}`, { kind: 'linear', outFeatures: 4096, bias: false }, [last]);
    }
    const network = builder.build(last);
    const matrix = { shape: [4096, 4096], data: new Float32Array(4096 * 4096) }; // 64 MiB, given 32 times
    const weights = new Map([...weightShapesByKey(network).keys()].map((key) => [key, matrix]));
    expect(() => writeOnnx(network, weights)).toThrow(InputError);
    expect(() => writeOnnx(network, weights)).toThrow(
      /^large: its ONNX model would have 214748\d{4} bytes.*2147483647/,
    );
  });

  const linear = oneNode({ kind: 'linear', outFeatures: 3, bias: false }, [2, 5]);
  test.each<[string, Weights, OnnxOptions, RegExp]>([
    ['a missing weight', new Map(), {}, /^y\.weight: not among the 0 weights; give linear a tensor of shape \[3, 5\]/],
    [
      'a weight of another shape',
      new Map([['y.weight', { shape: [5, 3], data: new Float32Array(15) }]]),
      {},
      /^y\.weight: shape \[5, 3\]; linear needs \[3, 5\]/,
    ],
    ['an older opset', ramp(linear), { opset: 12 }, /^opset 12 .* from 13 to 23$/],
    ['a newer opset', ramp(linear), { opset: 24 }, /^opset 24 .* from 13 to 23$/],
  ])('%s is refused', (_name, weights, options, message) => {
    expect(() => writeOnnx(linear, weights, options)).toThrow(InputError);
    expect(() => writeOnnx(linear, weights, options)).toThrow(message);
  });
});
