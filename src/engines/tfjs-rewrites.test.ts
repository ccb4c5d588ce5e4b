import { describe, expect, test } from 'vitest';
import { fuse, fuseAndRound } from '../fused/fuse.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Op } from '../network/ops.ts';
import type { Weights } from '../network/tensor.ts';
import { buildNetwork } from '../reference/config.ts';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { tfjsEngine } from './tfjs.ts';
import { rewritesOf } from './tfjs-rewrites.ts';

const conv = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: true,
} as const satisfies Op;

const SEED = 5;

/** x -> conv -> op -> what `tail` adds to it, which is the output. */
function around(op: Op, tail: (builder: NetworkBuilder, activated: string) => string, before: Op = conv): Network {
  const builder = new NetworkBuilder('around');
  const first = builder.add('first', before, [builder.input('input', [1, 4, 3, 5])]);
  return builder.build(tail(builder, builder.add('act', op, [first])));
}

const nothing = { doubled: new Set(), activations: new Map() };

describe('rewritesOf', () => {
  const rewrites = (network: Network, weights: Weights = randomWeights(network, SEED)) => rewritesOf(network, weights);

  test("gives a GELU's factor of 1/2 to all that read it", () => {
    const two = around({ kind: 'gelu' }, (builder, act) =>
      builder.add('sum', { kind: 'add' }, [builder.add('a', conv, [act]), builder.add('b', conv, [act])]),
    );
    expect(rewrites(two)).toEqual({ ...nothing, doubled: new Set(['act']) });
  });

  test.each<[string, Network]>([
    ['where it is the output', around({ kind: 'gelu' }, (_, act) => act)],
    [
      'where something else reads it, too',
      around({ kind: 'gelu' }, (builder, act) =>
        builder.add('sum', { kind: 'add' }, [builder.add('a', conv, [act]), act]),
      ),
    ],
  ])('leaves a GELU alone %s', (_what, network) => {
    expect(rewrites(network)).toEqual(nothing);
  });

  test('leaves a GELU alone where half of a weight would be rounded', () => {
    const network = around({ kind: 'gelu' }, (builder, act) => builder.add('a', conv, [act]));
    const weights = new Map(randomWeights(network, SEED));
    const { shape, data } = weights.get('a.weight')!;
    weights.set('a.weight', { shape, data: data.map((value, index) => (index === 3 ? 2 ** -126 : value)) });
    expect(rewrites(network, weights)).toEqual(nothing);
  });

  test('gives a ReLU to the kernel before it, where only the ReLU reads that and the kernel takes one', () => {
    const relu = { kind: 'relu' } as const;
    const output = (_: NetworkBuilder, act: string) => act;
    const activations = (network: Network) => [...rewrites(network).activations];
    expect(activations(around(relu, output))).toEqual([['first', 'act']]);
    expect(activations(around(relu, output, { ...conv, groups: 4 }))).toEqual([['first', 'act']]);
    expect(activations(around(relu, output, { ...conv, groups: 2 }))).toEqual([]);
    expect(activations(around(relu, (builder, act) => builder.add('sum', { kind: 'add' }, [act, 'first'])))).toEqual(
      [],
    );
    expect(activations(around(relu, () => 'first'))).toEqual([]);
  });
});

describe.each(['wasm', 'cpu'])('on %s, a rewritten network', (backend) => {
  const size = { batch: 2, height: 32, width: 32 };
  const repvit = completeRepVitConfig({ embed_dim: [8, 16], depth: [2, 1], num_classes: 4, legacy: true });
  const mlp = completeRepMlpNetConfig({
    num_blocks: [1, 1],
    channels: [8, 16],
    hs: [8, 4],
    ws: [8, 4],
    sharesets_nums: [2, 2],
    num_class: 4,
  });
  test.each([
    ['repvit', repvit],
    ['repmlpnet', mlp],
  ] as const)('has the same bits: %s, both forms', async (name, config) => {
    const tf = await import('@tensorflow/tfjs-core');
    tf.enableProdMode();
    await import('@tensorflow/tfjs-backend-cpu');
    await import('@tensorflow/tfjs-backend-wasm');
    const info = { name: backend, version: '', device: '', threads: 1, precision: undefined };
    const engines = [await tfjsEngine({ tf, backend, info }), await tfjsEngine({ tf, backend, info, rewrites: false })];
    const reference = buildNetwork(config, size, name);
    const fusion = fuse(reference);
    const weights = randomWeights(reference, SEED);
    const inputs = new Map([['input', randomInput([2, 3, 32, 32], SEED)]]);
    for (const [network, own] of [
      [reference, weights],
      [fusion.network, fuseAndRound(fusion, weights)],
    ] as const) {
      const { doubled, activations } = rewritesOf(network, own);
      expect(doubled.size + activations.size).toBeGreaterThan(1);
      const outputs = [];
      for (const engine of engines) {
        const loaded = await engine.load(network, own);
        outputs.push((await loaded.run(inputs)).data);
        await loaded.dispose();
      }
      expect(outputs[0]).toHaveLength(8);
      expect(outputs[0]).toEqual(outputs[1]);
    }
  });
});
