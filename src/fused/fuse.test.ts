import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import type { Weights } from '../network/tensor.ts';
import { buildRepVit, completeRepVitConfig, type RepVitConfig } from '../reference/repvit.ts';
import { randomWeights } from '../weights/random.ts';
import { roundingsField } from './field.ts';
import { fuse, fuseIn, fuseWeights, roundWeights, rules } from './fuse.ts';

function repvit(config: Partial<RepVitConfig> = {}): Network {
  const small = { embed_dim: [8, 16], depth: [2, 1], num_classes: 5, ...config };
  return buildRepVit(completeRepVitConfig(small), { batch: 2, height: 20, width: 14 });
}

const flavours = [
  { legacy: false, distillation: true },
  { legacy: false, distillation: false },
  { legacy: true, distillation: true },
  { legacy: true, distillation: false },
];

const both = (module: string) => [`${module}.weight`, `${module}.bias`];
const namesOf = (network: Network) => network.nodes.map(({ name }) => name);

describe.each(flavours)('RepViT, legacy $legacy, two heads $distillation', (flavour) => {
  const reference = repvit(flavour);

  test('the deploy form has the keys of the fused models, whatever the flavour', () => {
    const block = (name: string, se: boolean) =>
      ['token_mixer', ...(se ? ['se.fc1', 'se.fc2'] : []), 'channel_mixer.conv1', 'channel_mixer.conv2'].map(
        (module) => `${name}.${module}`,
      );
    const down = 'stages.1.downsample';
    const modules = [
      ...['stem.conv1', 'stem.conv2'],
      ...block('stages.0.blocks.0', true),
      ...block('stages.0.blocks.1', false),
      ...block(`${down}.pre_block`, false),
      ...['spatial_downsample', 'channel_downsample', 'ffn.conv1', 'ffn.conv2'].map((module) => `${down}.${module}`),
      ...block('stages.1.blocks.0', true),
      // Of one head, the module head.head alone fills the module head.
      'head',
    ];
    const { network } = fuse(reference);
    expect([...weightShapesByKey(network).keys()]).toEqual(modules.flatMap(both));
    expect(network.output).toBe('head');
  });

  test('no node is in two regions, and every other one is kept as it is', () => {
    const { network, regions, sameValue } = fuse(reference);
    const replaced = regions.flatMap((region) => region.reference);
    expect(new Set(replaced).size).toBe(replaced.length);
    const fused = new Set(regions.map(({ deploy }) => deploy));
    const kept = namesOf(network).filter((name) => !fused.has(name));
    expect([...replaced, ...kept].toSorted()).toEqual(namesOf(reference).toSorted());
    for (const name of kept) {
      expect(network.nodes.find((node) => node.name === name)?.op).toEqual(
        reference.nodes.find((node) => node.name === name)?.op,
      );
    }
    for (const region of regions) {
      // In the order of the reference; the last computes what the deploy node does.
      expect(region.reference).toEqual(namesOf(reference).filter((name) => region.reference.includes(name)));
      expect(sameValue.get(region.deploy)).toBe(region.reference.at(-1));
    }
    expect([...sameValue.keys()]).toEqual(namesOf(network));
  });

  test('nodes read only what stands before them, in the shapes of the reference', () => {
    const { network, sameValue } = fuse(reference);
    const known = new Set<string>();
    for (const { name, inputs, shape } of network.nodes) {
      expect(inputs.filter((input) => !known.has(input))).toEqual([]);
      expect(shape).toEqual(reference.nodes.find((node) => node.name === sameValue.get(name))?.shape);
      known.add(name);
    }
    expect(network.nodes.length).toBeLessThan(reference.nodes.length);
  });

  test('fusing twice gives the same, and leaves network and weights as they are', () => {
    const weights = randomWeights(reference, 1);
    const before = structuredClone({ reference, weights });
    const [first, second] = [fuse(reference), fuse(reference)].map((fusion) => ({
      network: fusion.network,
      regions: fusion.regions,
      weights: fuseWeights(fusion, weights),
    }));
    expect(second).toEqual(first);
    expect({ reference, weights }).toEqual(before);
  });

  test('a deploy form is fused already', () => {
    const fusion = fuse(reference);
    const weights = fuseWeights(fusion, randomWeights(reference, 1));
    const again = fuse(fusion.network);
    expect(again.regions).toEqual([]);
    expect(again.network).toEqual(fusion.network);
    const same = fuseWeights(again, weights);
    expect([...same.keys()]).toEqual([...weights.keys()]);
    for (const [key, tensor] of same) expect(tensor).toBe(weights.get(key));
  });
});

describe('names', () => {
  test.each([
    ['stem.conv1', ['stem.conv1.c', 'stem.conv1.bn'], ['conv-batch-norm']],
    [
      'head',
      ['head.head.bn', 'head.head.l', 'head.head_dist.bn', 'head.head_dist.l', 'head.add', 'head.mean'],
      ['batch-norm-linear', 'batch-norm-linear', 'average-heads'],
    ],
  ])('%s replaces its module', (deploy, reference, applied) => {
    expect(fuse(repvit()).regions.find((region) => region.deploy === deploy)).toEqual({
      deploy,
      reference,
      rules: applied,
    });
  });

  test('a node whose module is replaced in part keeps its own', () => {
    const builder = new NetworkBuilder('partial');
    const x = builder.input('input', [2, 4]);
    const active = builder.add('m.act', { kind: 'relu' }, [x]);
    const normed = builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [active]);
    const { network } = fuse(
      builder.build(builder.add('m.l', { kind: 'linear', outFeatures: 3, bias: false }, [normed])),
    );
    expect(namesOf(network)).toEqual(['input', 'm.act', 'm.l']);
    expect([...weightShapesByKey(network).keys()]).toEqual(['m.l.weight', 'm.l.bias']);
  });

  test('a node that is fused further keeps the name of its module', () => {
    const builder = new NetworkBuilder('shared norm');
    const normed = builder.add('pool.bn', { kind: 'batchNorm', eps: 1e-5 }, [builder.input('input', [2, 4])]);
    const linear = { kind: 'linear', outFeatures: 3, bias: true } as const;
    const linears = ['head.a', 'head.b'].map((name) => builder.add(name, linear, [normed]));
    const sum = builder.add('head.add', { kind: 'add' }, linears);
    const fusion = fuse(builder.build(builder.add('head.mean', { kind: 'scale', factor: 0.5 }, [sum])));
    // The heads become one first: only then has the batch norm a single reader.
    expect(fusion.regions.map(({ deploy, rules: applied }) => [deploy, applied])).toEqual([
      ['head', ['average-heads', 'batch-norm-linear']],
    ]);
  });

  test('a node that bears the name of a replaced module keeps it', () => {
    const builder = new NetworkBuilder('clash');
    const x = builder.input('input', [2, 4]);
    const normed = builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [x]);
    const last = builder.add('m.l', { kind: 'linear', outFeatures: 3, bias: false }, [normed]);
    const { network } = fuse(builder.build(builder.add('m', { kind: 'relu' }, [last])));
    expect(new Set(namesOf(network)).size).toBe(3);
    expect(network.nodes.find(({ op }) => op.kind === 'relu')?.inputs).toEqual([
      network.nodes.find(({ op }) => op.kind === 'linear')?.name,
    ]);
  });
});

describe('weights', () => {
  const reference = repvit();
  const weights: Weights<Float32Array> = randomWeights(reference, 2);
  const fusion = fuse(reference);

  test('that no rule touches are shared, not copied', () => {
    const fused = fuseWeights(fusion, weights);
    const rounded = roundWeights(fused);
    const untouched = [...fused.keys()].filter((key) => key.includes('.se.'));
    expect(untouched).toHaveLength(8);
    for (const key of untouched) {
      expect(fused.get(key)).toBe(weights.get(key));
      expect(rounded.get(key)?.data).toBe(weights.get(key)?.data);
    }
  });

  test('that a rule makes are float64, in the shapes of the deploy form, and rounded once', () => {
    const fused = fuseWeights(fusion, weights);
    const rounded = roundWeights(fused);
    for (const [key, shape] of weightShapesByKey(fusion.network)) {
      expect(fused.get(key)?.shape).toEqual(shape);
      if (key.includes('.se.')) continue;
      expect(fused.get(key)?.data).toBeInstanceOf(Float64Array);
      expect([...rounded.get(key)!.data]).toEqual(Array.from(fused.get(key)!.data, Math.fround));
    }
  });

  test('of the reference alone are needed, in no order', () => {
    const reversed = new Map([...weights].reverse());
    expect(fuseWeights(fusion, reversed)).toEqual(fuseWeights(fusion, weights));
  });

  test('count their roundings: sigma 2, factor 1, weight 1; mean * factor 1, beta - 1', () => {
    const counts = fuseIn(fusion, roundingsField, (key) => new Float64Array(weights.get(key)!.data.length));
    const most = (key: string) => Math.max(...Array.from(counts.get(key)?.values ?? []));
    expect([most('stem.conv1.weight'), most('stem.conv1.bias')]).toEqual([4, 5]);
  });
});

test('every rule is used by RepViT, and they have names of their own', () => {
  const used = new Set(fuse(repvit()).regions.flatMap((region) => region.rules));
  expect(used).toEqual(new Set(rules.map(({ name }) => name)));
  expect(used.size).toBe(rules.length);
});
