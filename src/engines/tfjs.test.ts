import { describe, expect, it } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { UnsupportedOp } from './engine.ts';
import { tfjsEngine } from './tfjs.ts';
import { cpu } from './tfjs-cpu.ts';
import { wasm } from './tfjs-wasm.ts';

/** A depthwise convolution with dilation 2, then a pointwise one. */
function smallNetwork(): Network {
  const builder = new NetworkBuilder('small');
  const conv = { kind: 'conv2d', outChannels: 4, stride: [1, 1], padding: [0, 0], bias: true } as const;
  const x = builder.input('x', [1, 4, 7, 6]);
  const depthwise = builder.add('depthwise', { ...conv, kernel: [3, 3], dilation: [2, 2], groups: 4 }, [x]);
  return builder.build(
    builder.add('pointwise', { ...conv, outChannels: 3, kernel: [1, 1], dilation: [1, 1], groups: 1 }, [depthwise]),
  );
}

const network = smallNetwork();
const weights = randomWeights(network, 1);
const inputs = new Map([['x', randomInput([1, 4, 7, 6], 2)]]);

function without(key: string): Weights {
  return new Map([...weights].filter(([other]) => other !== key));
}

describe('a tfjs engine', () => {
  it.each([
    ['wasm', wasm],
    ['cpu', cpu],
  ] as const)('says what %s really is', async (name, provider) => {
    const { info } = await provider.open({});
    const device = { wasm: /^CPU \(WebAssembly( SIMD)?\)$/, cpu: /^CPU \(JavaScript\)$/ }[name];
    expect(info).toMatchObject({ name, version: 'tfjs 4.22.0', threads: 1 });
    expect(info.device).toMatch(device);
  });

  it('computes each network on its own backend while another one runs', async () => {
    const loaded = await Promise.all([wasm, cpu, wasm].map(async (p) => (await p.open({})).load(network, weights)));
    const alone: Tensor[] = [];
    for (const one of loaded) alone.push(await one.run(inputs));
    const together = await Promise.all(loaded.map((one) => one.run(inputs)));
    expect(together).toEqual(alone);
    expect(alone[0]?.shape).toEqual([1, 3, 3, 2]);
    await Promise.all(loaded.map((one) => one.dispose()));
  });

  it('rounds float64 weights to float32 once', async () => {
    const engine = await wasm.open({});
    const precise = new Map(
      [...weights].map(([key, { shape, data }]) => [
        key,
        // A quarter of a unit in the last place more: rounds back to the float32 value.
        { shape, data: Float64Array.from(data, (value) => value * (1 + 2 ** -26)) },
      ]),
    );
    const rounded = await engine.load(network, weights);
    const unrounded = await engine.load(network, precise);
    expect(await unrounded.run(inputs)).toEqual(await rounded.run(inputs));
    await Promise.all([rounded.dispose(), unrounded.dispose()]);
  });

  it.each([
    [without('pointwise.weight'), 'pointwise.weight is missing from the weights; pointwise needs it'],
    [
      new Map<string, Tensor>([...weights, ['pointwise.bias', { shape: [2], data: new Float32Array(2) }]]),
      'pointwise: a weight has 2 elements; [3] needs 3',
    ],
  ])('refuses weights that do not fit and keeps nothing of them (%#)', async (unfit, message) => {
    const engine = await wasm.open({});
    const before = engine.liveTensors();
    await expect(engine.load(network, unfit)).rejects.toThrow(new InputError(message));
    expect(engine.liveTensors()).toBe(before);
  });

  it.each(['weight', 'bias', 'scale', 'shift', 'row_sum'] as const)(
    'refuses a windowLinear whose %s has another size',
    async (role) => {
      const builder = new NetworkBuilder('windows');
      const op = { kind: 'windowLinear', window: [14, 14], sets: 2, bias: true, affine: true } as const;
      const layer = builder.build(builder.add('fc3', op, [builder.input('x', [1, 64, 14, 14])]));
      const fit = randomWeights(layer, 1);
      const { shape, data } = fit.get(`fc3.${role}`)!;
      const longer: Weights = new Map([...fit, [`fc3.${role}`, { shape, data: Float32Array.of(...data, 0) }]]);
      const engine = await wasm.open({});
      const before = engine.liveTensors();
      await expect(engine.load(layer, longer)).rejects.toThrow(
        new InputError(`fc3: a weight has ${data.length + 1} elements; [${shape.join(', ')}] needs ${data.length}`),
      );
      expect(engine.liveTensors()).toBe(before);
    },
  );

  it.each([
    [new Map(), 'x: no such input was fed; none was'],
    [new Map([['y', randomInput([1, 4, 7, 6], 2)]]), 'x: no such input was fed; there are y'],
    [
      new Map([['x', randomInput([1, 4, 7, 7], 2)]]),
      'x: an input of shape [1, 4, 7, 7] was fed; the network was built for [1, 4, 7, 6]',
    ],
  ])('refuses inputs that do not fit and keeps nothing of them (%#)', async (unfit, message) => {
    const engine = await wasm.open({});
    const loaded = await engine.load(network, weights);
    const before = engine.liveTensors();
    await expect(loaded.run(unfit)).rejects.toThrow(new InputError(message));
    expect(engine.liveTensors()).toBe(before);
    await loaded.dispose();
  });

  it('names the node that the backend has no kernel for', async () => {
    const tf = await import('@tensorflow/tfjs-core');
    const { info } = await cpu.open({});
    const depthwiseConv2d = () => {
      throw new Error('Invalid TF_Status: 12');
    };
    const engine = await tfjsEngine({
      tf: { ...tf, fused: { ...tf.fused, depthwiseConv2d } },
      backend: 'cpu',
      info,
    });
    await expect(engine.load(network, weights)).rejects.toThrow(
      new UnsupportedOp(
        'depthwise: depthwise convolution with stride 1x1 and dilation 2x2; cpu refuses it: Invalid TF_Status: 12',
      ),
    );
  });

  it('is an error where another backend took the place of its own', async () => {
    const tf = await import('@tensorflow/tfjs-core');
    const { MathBackendCPU } = await import('@tensorflow/tfjs-backend-cpu');
    const engine = await cpu.open({});
    const loaded = await engine.load(network, weights);
    tf.removeBackend('cpu');
    tf.registerBackend('cpu', () => new MathBackendCPU());
    await expect(loaded.run(inputs)).rejects.toThrow(
      'cpu: another tfjs backend has taken its place; open the engine again',
    );
  });
});
