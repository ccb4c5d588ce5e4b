import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import type { Weights } from '../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig, type RepVitConfig } from '../reference/repvit.ts';
import { randomWeights } from '../weights/random.ts';
import { float64Field, roundingsField } from './field.ts';
import { deployForms, fuseTo } from './forms.ts';
import { type Fusion, fuse, fuseAndRound, fuseIn, fuseWeights, roundWeights, rules } from './fuse.ts';

function repvit(config: Partial<RepVitConfig> = {}): Network {
  const small = { embed_dim: [8, 16], depth: [2, 1], num_classes: 5, ...config };
  return buildRepVit(completeRepVitConfig(small), { batch: 2, height: 20, width: 14 });
}

/** Maps of several windows, of which some change places; windows and kernels of several sizes. */
const repmlpnet = (): Network => {
  const config = completeRepMlpNetConfig({
    num_blocks: [1, 2],
    channels: [8, 12],
    hs: [4, 2],
    ws: [3, 3],
    sharesets_nums: [4, 3],
    reparam_conv_k: [1, 3],
    num_class: 5,
  });
  return buildRepMlpNet(config, { batch: 2, height: 32, width: 24 });
};

/** Every family in every deploy form. */
const fusions: readonly (readonly [name: string, fusion: Fusion])[] = [repvit(), repmlpnet()].flatMap((network) =>
  deployForms(network).map((form) => [`${network.name}, ${form.name}`, fuseTo(form, network)] as const),
);

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
    for (const [key, { shape, data }] of same) {
      expect(shape).toEqual(weights.get(key)?.shape);
      expect(data).toBe(weights.get(key)?.data);
    }
  });
});

describe.each(fusions)('%s', (_name, { reference, network, regions, sameValue }) => {
  test('nodes read only what stands before them, in the shapes of the reference', () => {
    const known = new Set<string>();
    const inner = new Set(regions.flatMap((region) => region.inner));
    for (const { name, inputs, shape } of network.nodes) {
      expect(inputs.filter((input) => !known.has(input))).toEqual([]);
      const source = inner.has(name) ? name : sameValue.get(name);
      expect(shape).toEqual(reference.nodes.find((node) => node.name === source)?.shape);
      known.add(name);
    }
    expect(known.has(network.output)).toBe(true);
    expect(known.size).toBe(network.nodes.length);
  });

  test('a node is in one region or kept, unless it is shared', () => {
    const shared = new Set(regions.flatMap((region) => region.shared));
    const own = regions.flatMap((region) => region.reference.filter((name) => !shared.has(name)));
    const fused = new Set(regions.flatMap(({ deploy, inner }) => [deploy, ...inner]));
    const kept = namesOf(network).filter((name) => !fused.has(name));
    expect([...own, ...shared, ...kept].toSorted()).toEqual(namesOf(reference).toSorted());
    for (const region of regions) expect(region.reference).toEqual(expect.arrayContaining([...region.shared]));
  });
});

describe('RepMLPNet', () => {
  const unit = 'stages.0.0';
  const block = `${unit}.repmlp_block`;
  const norm = (module: string) => ['weight', 'bias', 'running_mean', 'running_var'].map((role) => `${module}.${role}`);

  test('deploy folds every batch norm', () => {
    const { network, regions } = fuse(repmlpnet());
    expect([...weightShapesByKey(network)].filter(([key]) => key.startsWith(`${unit}.`))).toEqual([
      [`${block}.gp.fc1.weight`, [2, 8, 1, 1]],
      [`${block}.gp.fc1.bias`, [2]],
      [`${block}.gp.fc2.weight`, [8, 2, 1, 1]],
      [`${block}.gp.fc2.bias`, [8]],
      [`${block}.fc3.weight`, [48, 12, 1, 1]],
      [`${block}.fc3.bias`, [48]],
      [`${block}.fc3.scale`, [8]],
      [`${block}.fc3.shift`, [8]],
      [`${block}.fc3.row_sum`, [48]],
      [`${unit}.ffn_block.ffn_fc1.weight`, [32, 8, 1, 1]],
      [`${unit}.ffn_block.ffn_fc1.bias`, [32]],
      [`${unit}.ffn_block.ffn_fc2.weight`, [8, 32, 1, 1]],
      [`${unit}.ffn_block.ffn_fc2.bias`, [8]],
    ]);
    const prebn = `${unit}.prebn1`;
    expect(regions.find(({ deploy }) => deploy === `${block}.gp.fc1`)).toEqual({
      deploy: `${block}.gp.fc1`,
      reference: [prebn, `${block}.gp.pool`, `${block}.gp.fc1`],
      shared: [prebn],
      inner: [`${block}.gp.pool`],
      rules: ['batch-norm-pool'],
    });
    const branches = ['repconv1.conv', 'repconv1.bn', 'repconv3.conv', 'repconv3.bn'];
    const inBlock = ['partition', 'fc3', 'fc3_bn', ...branches, 'add', 'departition'];
    const fc3 = regions.find(({ deploy }) => deploy === `${block}.fc3`);
    expect(fc3).toMatchObject({ shared: [prebn], inner: [] });
    expect(fc3?.reference).toEqual([prebn, ...inBlock.map((name) => `${block}.${name}`)]);
    expect(new Set(fc3?.rules)).toEqual(
      new Set([
        'set-linear-batch-norm',
        'conv-batch-norm',
        'locality-injection',
        'window-linear',
        'batch-norm-window-linear',
      ]),
    );
  });

  test('deploy-official merges the perceptrons over windows, and nothing else', () => {
    const network = repmlpnet();
    const [official] = deployForms(network);
    const { network: deploy, regions } = fuseTo(official, network);
    expect([...weightShapesByKey(deploy)].filter(([key]) => key.startsWith(`${unit}.`)).map(([key]) => key)).toEqual([
      ...norm(`${unit}.prebn1`),
      ...['gp.fc1.weight', 'gp.fc1.bias', 'gp.fc2.weight', 'gp.fc2.bias'].map((key) => `${block}.${key}`),
      `${block}.fc3.weight`,
      `${block}.fc3.bias`,
      ...norm(`${unit}.prebn2`),
      `${unit}.ffn_block.ffn_fc1.conv.weight`,
      ...norm(`${unit}.ffn_block.ffn_fc1.bn`),
      `${unit}.ffn_block.ffn_fc2.conv.weight`,
      ...norm(`${unit}.ffn_block.ffn_fc2.bn`),
    ]);
    expect(regions.map(({ deploy: name, shared }) => [name, shared])).toEqual(
      ['stages.0.0', 'stages.1.0', 'stages.1.1'].map((name) => [`${name}.repmlp_block.fc3`, []]),
    );
  });

  test('without a local perceptron fc3 and its batch norm are merged', () => {
    const config = completeRepMlpNetConfig({
      num_blocks: [1],
      channels: [8],
      hs: [2],
      ws: [3],
      sharesets_nums: [2],
      reparam_conv_k: null,
    });
    const network = buildRepMlpNet(config, { batch: 1, height: 8, width: 12 });
    const [official] = deployForms(network);
    expect(fuseTo(official, network).regions.map(({ reference }) => reference)).toEqual([
      [`${block}.fc3`, `${block}.fc3_bn`],
    ]);
  });
});

describe('names', () => {
  test.each([
    ['stem.conv1', ['stem.conv1.c', 'stem.conv1.bn'], [], ['conv-batch-norm']],
    [
      'head',
      ['head.head.bn', 'head.head.l', 'head.head_dist.bn', 'head.head_dist.l', 'head.add', 'head.mean'],
      ['head.head.bn', 'head.head_dist.bn'],
      ['batch-norm-linear', 'batch-norm-linear', 'average-heads'],
    ],
  ])('%s replaces its module', (deploy, reference, shared, applied) => {
    expect(fuse(repvit()).regions.find((region) => region.deploy === deploy)).toEqual({
      deploy,
      reference,
      shared,
      inner: [],
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
    expect(fusion.regions.map(({ deploy, rules: applied }) => [deploy, applied])).toEqual([
      ['head', ['batch-norm-linear', 'batch-norm-linear', 'average-heads']],
    ]);
    expect(fusion.regions[0]?.reference).toEqual(['pool.bn', 'head.a', 'head.b', 'head.add', 'head.mean']);
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
      expect(fused.get(key)?.data).toBe(weights.get(key)?.data);
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
    const most = new Map<string, number>();
    fuseIn(
      fusion,
      roundingsField,
      (key) => new Float64Array(weights.get(key)!.data.length),
      (key, _shape, counts) => most.set(key, Math.max(...Array.from(counts))),
    );
    expect([most.get('stem.conv1.weight'), most.get('stem.conv1.bias')]).toEqual([4, 5]);
  });
});

const bits = (weights: Weights): [string, string][] =>
  [...weights].map(([key, { data }]) => [
    key,
    Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64'),
  ]);

describe.each(fusions)('weights of %s', (_name, fusion) => {
  const given = randomWeights(fusion.reference, 3);
  /** Of more digits than float32 holds. */
  const wide: Weights = new Map(
    [...given].map(([key, { shape, data }]) => [
      key,
      { shape, data: Float64Array.from(data, (w) => w * (1 + 2 ** -26)) },
    ]),
  );

  test.each([
    ['float32', given],
    ['float64', wide],
  ])('given in %s are never changed, though rules write in place', (_precision, weights) => {
    const before = bits(weights);
    const first = bits(fuseWeights(fusion, weights));
    fuseAndRound(fusion, weights);
    expect(bits(weights)).toEqual(before);
    expect(bits(fuseWeights(fusion, weights))).toEqual(first);
  });

  test('of one fusing are not those of another, but for what no rule touches', () => {
    const [first, second] = [fuseWeights(fusion, given), fuseWeights(fusion, given)];
    const made = new Set(fusion.regions.flatMap(({ deploy }) => [`${deploy}.weight`, `${deploy}.bias`]));
    const shared = [...first.keys()].filter((key) => first.get(key)!.data.buffer === second.get(key)!.data.buffer);
    expect(shared.filter((key) => made.has(key))).toEqual([]);
    expect(shared.filter((key) => first.get(key)!.data !== given.get(key)?.data)).toEqual([]);
  });

  test.each([
    ['float32', given],
    ['float64', wide],
  ])('from %s rounded one by one are those rounded afterwards, bit for bit', (_precision, weights) => {
    const rounded = roundWeights(fuseWeights(fusion, weights));
    expect([...rounded.keys()]).toEqual([...weightShapesByKey(fusion.network).keys()]);
    expect(bits(fuseAndRound(fusion, weights))).toEqual(bits(rounded));
  });

  test('are finished layer by layer, so that no more than one is held before it is rounded', () => {
    const shared = new Set(fusion.regions.flatMap((region) => region.shared));
    const layerOf = new Map(
      fusion.regions.flatMap(({ deploy, reference }) =>
        fusion.reference.nodes
          .filter(({ name }) => reference.includes(name) && !shared.has(name))
          .flatMap(({ weights }) => Object.values(weights).map((key) => [key, deploy] as const)),
      ),
    );
    const deployOf = new Map(
      fusion.network.nodes.flatMap(({ name, weights }) => Object.values(weights).map((key) => [key, name] as const)),
    );
    const events: string[] = [];
    fuseIn(
      fusion,
      float64Field,
      (key) => {
        const layer = layerOf.get(key);
        if (layer !== undefined) events.push(layer);
        return given.get(key)!.data;
      },
      (key) => events.push(deployOf.get(key)!),
    );
    const layers = events.filter((layer, i) => layer !== events[i - 1]);
    expect(layers.toSorted()).toEqual(fusion.regions.map(({ deploy }) => deploy).toSorted());
  });

  test('are emitted once each, in their shapes', () => {
    const emitted: [string, readonly number[]][] = [];
    fuseIn(
      fusion,
      float64Field,
      (key) => given.get(key)!.data,
      (key, shape) => emitted.push([key, shape]),
    );
    const made = [...weightShapesByKey(fusion.network)].filter(([key]) =>
      fusion.regions.some(({ deploy }) => Object.values(nodeOf(fusion.network, deploy).weights).includes(key)),
    );
    expect(emitted.toSorted()).toEqual(made.toSorted());
  });
});

function nodeOf(network: Network, name: string) {
  const node = network.nodes.find((candidate) => candidate.name === name);
  if (node === undefined) throw new Error(`${name} is not a node of ${network.name}`);
  return node;
}

test('every rule is used by RepViT or RepMLPNet, and they have names of their own', () => {
  const used = new Set(
    [repvit(), repmlpnet()].flatMap((network) => fuse(network).regions.flatMap((region) => region.rules)),
  );
  expect(used).toEqual(new Set(rules.map(({ name }) => name)));
  expect(used.size).toBe(rules.length);
});
