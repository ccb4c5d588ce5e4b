import { createRequire } from 'node:module';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { writeOnnx } from '../artefacts/onnx.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Op } from '../network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { type EngineInputs, EngineUnavailable } from './engine.ts';
import { onnxruntime, openOnnxruntime } from './onnxruntime.ts';

function oneNode(op: Op, ...shapes: Shape[]): Network {
  const builder = new NetworkBuilder(op.kind);
  const inputs = shapes.map((shape, index) => builder.input(`x${index}`, shape));
  return builder.build(builder.add('y', op, inputs));
}

/** Small whole numbers, of both signs and without a period that a swapped axis could hide behind. */
function whole(shape: Shape): Tensor<Float32Array> {
  return { shape, data: Float32Array.from({ length: elements(shape) }, (_, index) => ((index * index + 3) % 13) - 6) };
}

function wholeInputs(network: Network): EngineInputs {
  const inputs = network.nodes.filter(({ op }) => op.kind === 'input');
  return new Map(inputs.map(({ name, shape }) => [name, whole(shape)]));
}

/** Whole numbers; each running_var 4 - 2^-17, whose root with an eps of 2^-17 is 2. */
function wholeWeights(network: Network): Weights<Float32Array> {
  const tensors = [...weightShapesByKey(network)].map(([key, shape]) => {
    const tensor = whole(shape);
    return [key, key.endsWith('running_var') ? { shape, data: tensor.data.map(() => 4 - 2 ** -17) } : tensor] as const;
  });
  return new Map(tensors);
}

async function runOnce(
  network: Network,
  weights: Weights,
  inputs: EngineInputs,
  options: Parameters<typeof openOnnxruntime>[0] = {},
): Promise<Tensor<Float32Array>> {
  const loaded = await (await openOnnxruntime(options)).load(network, weights);
  const output = await loaded.run(inputs);
  await loaded.dispose();
  return output;
}

const conv = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  bias: true,
} as const satisfies Op;
const map: Shape = [2, 4, 7, 9];
const windows = { kind: 'windowLinear', window: [2, 3], sets: 2 } as const;

/** Every sum and product in these is a whole number or a half below 2^24: exact in float32, in any order. */
const exact: readonly [string, Network][] = [
  ['conv2d', oneNode(conv, map)],
  ['conv2d, pointwise', oneNode({ ...conv, kernel: [1, 1], padding: [0, 0], bias: false }, map)],
  ['conv2d, depthwise, stride 2', oneNode({ ...conv, groups: 4, stride: [2, 2] }, map)],
  [
    'conv2d, grouped, every pair uneven',
    oneNode({ ...conv, groups: 2, kernel: [2, 3], stride: [2, 1], padding: [1, 2], dilation: [3, 2] }, map),
  ],
  ['batchNorm on maps', oneNode({ kind: 'batchNorm', eps: 2 ** -17 }, map)],
  ['batchNorm on vectors', oneNode({ kind: 'batchNorm', eps: 2 ** -17 }, [3, 5])],
  ['linear', oneNode({ kind: 'linear', outFeatures: 3, bias: true }, [2, 5])],
  ['linear without bias', oneNode({ kind: 'linear', outFeatures: 3, bias: false }, [2, 5])],
  ['add', oneNode({ kind: 'add' }, map, map, map)],
  ['mul', oneNode({ kind: 'mul' }, map, [2, 4, 1, 1])],
  ['scale', oneNode({ kind: 'scale', factor: 0.5 }, map)],
  ['relu', oneNode({ kind: 'relu' }, map)],
  ['globalAvgPool', oneNode({ kind: 'globalAvgPool', keepDims: false }, [2, 3, 4, 8])],
  ['globalAvgPool with keepDims', oneNode({ kind: 'globalAvgPool', keepDims: true }, [2, 3, 4, 8])],
  ['partition', oneNode({ kind: 'partition', window: [2, 3], sets: 2 }, [2, 4, 4, 9])],
  ['departition', oneNode({ kind: 'departition', channels: 4, parts: [2, 3] }, [24, 2, 2, 3])],
  ['setLinear', oneNode({ kind: 'setLinear', bias: true }, [5, 2, 3, 4])],
  ['setLinear without bias', oneNode({ kind: 'setLinear', bias: false }, [5, 1, 3, 4])],
  ['windowLinear', oneNode({ ...windows, bias: true, affine: false }, [2, 4, 4, 9])],
  ['windowLinear, affine', oneNode({ ...windows, bias: true, affine: true }, [2, 4, 4, 9])],
  ['windowLinear on whole maps', oneNode({ ...windows, bias: false, affine: true }, [3, 4, 2, 3])],
];

/** Convolutions, activations, a gate and layers over windows, large enough that ONNX Runtime shares each between threads. */
function mixed(): Network {
  const builder = new NetworkBuilder('mixed');
  const x = builder.input('input', [1, 32, 28, 28]);
  const wide = { ...conv, outChannels: 32 };
  const depthwise = builder.add('token', { ...wide, groups: 32 }, [x]);
  const norm = builder.add('norm', { kind: 'batchNorm', eps: 1e-5 }, [depthwise]);
  const pool = builder.add('pool', { kind: 'globalAvgPool', keepDims: true }, [norm]);
  const gate = builder.add('gate', { kind: 'sigmoid' }, [pool]);
  const gated = builder.add('gated', { kind: 'mul' }, [norm, gate]);
  const up = builder.add('up', { ...wide, outChannels: 128, kernel: [1, 1], padding: [0, 0] }, [gated]);
  const act = builder.add('act', { kind: 'gelu' }, [up]);
  const down = builder.add('down', { ...wide, kernel: [1, 1], padding: [0, 0] }, [act]);
  const sum = builder.add('sum', { kind: 'add' }, [gated, down]);
  const linear = builder.add('linear', { ...windows, window: [14, 28], sets: 4, bias: true, affine: true }, [sum]);
  const cut = builder.add('partition', { kind: 'partition', window: [14, 14], sets: 8 }, [linear]);
  const grouped = builder.add('fc3', { kind: 'setLinear', bias: true }, [cut]);
  return builder.build(builder.add('departition', { kind: 'departition', channels: 32, parts: [2, 2] }, [grouped]));
}

afterEach(() => {
  vi.doUnmock('onnxruntime-node');
  vi.resetModules();
});

describe('onnxruntime', () => {
  describe.each([true, false])('graph optimisation %s', (optimise) => {
    test.each(exact)('%s is exact on whole numbers', async (_name, network) => {
      const weights = wholeWeights(network);
      const inputs = wholeInputs(network);
      const values = await evaluateFloat64(network, weights, inputs, { kernels: 'definition' });
      const expected = values.get(network.output);
      const { shape, data } = await runOnce(network, weights, inputs, { optimise });
      expect(shape).toEqual(expected?.shape);
      expect([...data].map((value) => value + 0)).toEqual([...(expected?.data ?? [])].map((value) => value + 0));
    });
  });

  test('erf is as accurate as it says, on gelu of 2^16 points in [-8, 8]', async () => {
    const points = 2 ** 16;
    const network = oneNode({ kind: 'gelu' }, [1, points]);
    const data = Float32Array.from({ length: points }, (_, index) => -8 + (16 * index) / (points - 1));
    const inputs = new Map([['x0', { shape: [1, points], data }]]);
    const exactly = (await evaluateFloat64(network, new Map(), inputs)).get('y')?.data ?? new Float64Array();
    const { precision } = (await openOnnxruntime()).info;
    const { data: actual } = await runOnce(network, new Map(), inputs);
    const beyond = [...data].filter((x, index) => {
      const error = Math.abs(actual[index]! - exactly[index]!);
      return !(error <= precision!.erf * 0.5 * Math.abs(x));
    });
    expect(beyond).toEqual([]);
  });

  test('subnormals are kept, read and written', async () => {
    const network = oneNode({ kind: 'scale', factor: 2 ** -70 }, [1, 3]);
    const inputs = new Map([['x0', { shape: [1, 3], data: Float32Array.of(2 ** -79, 3 * 2 ** -60, -(2 ** -78)) }]]);
    expect([...(await runOnce(network, new Map(), inputs)).data]).toEqual([2 ** -149, 3 * 2 ** -130, -(2 ** -148)]);
    const conv1 = oneNode({ ...conv, outChannels: 1, kernel: [1, 1], padding: [0, 0], bias: false }, [1, 1, 1, 1]);
    const weight = (data: Float32Array) => new Map([['y.weight', { shape: [1, 1, 1, 1], data }]]);
    const smallest = new Map([['x0', { shape: [1, 1, 1, 1], data: Float32Array.of(2 ** -149) }]]);
    expect([...(await runOnce(conv1, weight(Float32Array.of(3)), smallest)).data]).toEqual([3 * 2 ** -149]);
  });

  test.each([13, 19, 20, 23])('reads opset %i and computes the same gelu', async (opset) => {
    const { InferenceSession, Tensor } = await import('onnxruntime-node');
    const network = oneNode({ kind: 'gelu' }, [1, 3]);
    const session = await InferenceSession.create(writeOnnx(network, new Map(), { opset }));
    const { y } = await session.run({ x0: new Tensor('float32', Float32Array.of(-1, 0, 2), [1, 3]) });
    await session.release();
    // x Phi(x), by Phi(1) = 0.841344746068543 and Phi(2) = 0.977249868051821
    const errors = [-0.158655253931457, 0, 1.954499736103642].map((gelu, i) => Math.abs(gelu - Number(y?.data[i])));
    expect(Math.max(...errors)).toBeLessThan(2 ** -21); // u of the result, and ERF_ERROR times |x| / 2 <= 1
  });

  test('reads the names, types and fixed shapes of inputs and outputs as written', async () => {
    const { InferenceSession } = await import('onnxruntime-node');
    const network = oneNode({ kind: 'globalAvgPool', keepDims: false }, [2, 3, 5, 7]);
    const session = await InferenceSession.create(writeOnnx(network, new Map()));
    const value = { isTensor: true, type: 'float32' };
    expect(session.inputMetadata).toEqual([{ ...value, name: 'x0', shape: [2, 3, 5, 7] }]);
    expect(session.outputMetadata).toEqual([{ ...value, name: 'y', shape: [2, 3] }]);
    await session.release();
  });

  test('the bits do not depend on the number of threads or the run', async () => {
    const network = mixed();
    const weights = randomWeights(network, 1);
    const inputs = new Map([['input', randomInput([1, 32, 28, 28], 1)]]);
    const loaded = await (await openOnnxruntime({ threads: 2 })).load(network, weights);
    const first = await loaded.run(inputs);
    const second = await loaded.run(inputs);
    await loaded.dispose();
    const single = await runOnce(network, weights, inputs, { threads: 1 });
    expect(Buffer.from(second.data.buffer).equals(Buffer.from(first.data.buffer))).toBe(true);
    expect(Buffer.from(single.data.buffer).equals(Buffer.from(first.data.buffer))).toBe(true);
  });

  test('an output is its own: a later run and a changed input leave it as it is', async () => {
    const loaded = await (await openOnnxruntime()).load(oneNode({ kind: 'relu' }, [1, 2]), new Map());
    const data = Float32Array.of(1, 2);
    const inputs = new Map([['x0', { shape: [1, 2], data }]]);
    const first = await loaded.run(inputs);
    data.set([3, 4]);
    const second = await loaded.run(inputs);
    await loaded.dispose();
    expect([[...first.data], [...second.data]]).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  test('a network that is only its input gives it back', async () => {
    const builder = new NetworkBuilder('identity');
    const network = builder.build(builder.input('x0', [2, 3]));
    expect(await runOnce(network, new Map(), wholeInputs(network))).toEqual(whole([2, 3]));
  });

  test('says what runs', async () => {
    const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json');
    const { info, liveTensors } = await onnxruntime.open({ threads: 3 });
    expect(info).toMatchObject({ name: 'onnxruntime', version, device: 'CPU', threads: 3 });
    expect(liveTensors()).toBe(undefined);
    const raw = await openOnnxruntime({ optimise: false });
    expect(raw.info.name).toBe('onnxruntime (graph optimisation off)');
  });

  test.each([0, -1, 1.5, Number.NaN])('%s threads are refused', async (threads) => {
    const opening = onnxruntime.open({ threads });
    await expect(opening).rejects.toThrow(InputError);
    await expect(opening).rejects.toThrow(`threads ${threads} for onnxruntime; a whole number of at least 1`);
  });

  test('a missing input and one of another shape are refused', async () => {
    const loaded = await (await openOnnxruntime()).load(oneNode({ kind: 'relu' }, [1, 2]), new Map());
    await expect(loaded.run(new Map())).rejects.toThrow(/^x0: no input of that name .* shape \[1, 2\]$/);
    const wrong = loaded.run(new Map([['x0', whole([2, 1])]]));
    await expect(wrong).rejects.toThrow(InputError);
    await expect(wrong).rejects.toThrow('x0: input of shape [2, 1]; the network was built for [1, 2]');
    await loaded.dispose();
  });

  test('a runtime that does not load is an unavailable engine, with the way to get it', async () => {
    vi.doMock('onnxruntime-node', () => {
      throw new Error('libonnxruntime.so.1: cannot open shared object file');
    });
    const opening = onnxruntime.open({});
    await expect(opening).rejects.toThrow(EngineUnavailable);
    await expect(opening).rejects.toMatchObject({ fix: 'npm install onnxruntime-node' });
  });
});
