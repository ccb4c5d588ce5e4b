import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { nodesByName, weightShapesByKey } from '../network/graph.ts';
import { isKind, type Network } from '../network/ops.ts';
import { buildRepMlpNet, completeRepMlpNetConfig, type RepMlpNetConfig, repMlpNet } from './repmlpnet.ts';
import type { InputSize } from './size.ts';

/** Two stages; maps of 8x12 and 4x6. */
const SMALL: Partial<RepMlpNetConfig> = {
  num_blocks: [1, 2],
  channels: [8, 12],
  hs: [4, 4],
  ws: [3, 2],
  sharesets_nums: [2, 4],
  reparam_conv_k: [1, 3],
  num_class: 5,
};
const SIZE: InputSize = { batch: 2, height: 32, width: 48 };

function build(config: Partial<RepMlpNetConfig> = {}, size = SIZE): Network {
  return buildRepMlpNet(completeRepMlpNetConfig({ ...SMALL, ...config }), size);
}

const shapeAt = (network: Network, name: string) => nodesByName(network).get(name)?.shape;

const norm = (module: string, channels: number): [string, number[]][] =>
  ['weight', 'bias', 'running_mean', 'running_var'].map((role) => [`${module}.${role}`, [channels]]);
const convBn = (module: string, shape: number[]): [string, number[]][] => [
  [`${module}.conv.weight`, shape],
  ...norm(`${module}.bn`, shape[0]!),
];

function under(network: Network, module: string): [string, readonly number[]][] {
  return [...weightShapesByKey(network)].filter(([key]) => key.startsWith(`${module}.`)).toSorted();
}

describe('the keys and shapes are those of the original', () => {
  const unit = 'stages.1.1';
  const block = `${unit}.repmlp_block`;

  test.each([
    ['the default local perceptron', [1, 3]],
    ['kernels of another size', [5]],
    ['no local perceptron', []],
  ])('of a unit, %s', (_name, reparam_conv_k) => {
    expect(under(build({ reparam_conv_k }), unit)).toEqual(
      [
        [`${block}.gp.fc1.weight`, [3, 12, 1, 1]],
        [`${block}.gp.fc1.bias`, [3]],
        [`${block}.gp.fc2.weight`, [12, 3, 1, 1]],
        [`${block}.gp.fc2.bias`, [12]],
        [`${block}.fc3.weight`, [4 * 4 * 2, 4 * 2, 1, 1]],
        ...norm(`${block}.fc3_bn`, 4),
        ...reparam_conv_k.flatMap((k) => convBn(`${block}.repconv${k}`, [4, 1, k, k])),
        ...convBn(`${unit}.ffn_block.ffn_fc1`, [48, 12, 1, 1]),
        ...convBn(`${unit}.ffn_block.ffn_fc2`, [12, 48, 1, 1]),
        ...norm(`${unit}.prebn1`, 12),
        ...norm(`${unit}.prebn2`, 12),
      ].toSorted(),
    );
  });

  test('of everything else', () => {
    const keys = [...weightShapesByKey(build({ in_channels: 2, patch_size: [4, 2] }, { ...SIZE, width: 24 }))];
    expect(keys.filter(([key]) => !key.startsWith('stages.'))).toEqual([
      ...convBn('conv_embedding', [8, 2, 4, 2]),
      ...convBn('embeds.0', [12, 8, 2, 2]),
      ...norm('head_norm', 12),
      ['head.weight', [5, 12]],
      ['head.bias', [5]],
    ]);
  });

  test('the inner width of the global perceptron is rounded down', () => {
    const network = build({ globalperceptron_reduce: 5 });
    expect([shapeAt(network, 'stages.0.0.repmlp_block.gp.fc1'), shapeAt(network, `${block}.gp.fc1`)]).toEqual([
      [2, 1, 1, 1],
      [2, 2, 1, 1],
    ]);
  });
});

describe('shapes', () => {
  test('each stage halves the map, of several windows or of one', () => {
    const network = build();
    expect(shapeAt(network, 'conv_embedding.relu')).toEqual([2, 8, 8, 12]);
    expect(shapeAt(network, 'stages.0.0.add2')).toEqual([2, 8, 8, 12]);
    expect(shapeAt(network, 'embeds.0.relu')).toEqual([2, 12, 4, 6]);
    expect(shapeAt(network, 'stages.1.1.add2')).toEqual([2, 12, 4, 6]);
    expect(shapeAt(network, network.output)).toEqual([2, 5]);
    // 2 images of 2x4 windows of 4x3 pixels, 8 channels in 2 share-sets; of 1x3 windows, 12 channels in 4.
    expect(shapeAt(network, 'stages.0.0.repmlp_block.partition')).toEqual([2 * 8 * 4, 2, 4, 3]);
    expect(shapeAt(network, 'stages.1.0.repmlp_block.partition')).toEqual([2 * 3 * 3, 4, 4, 2]);
    const back = nodesByName(network).get('stages.0.0.repmlp_block.departition');
    expect(back?.op).toEqual({ kind: 'departition', channels: 8, parts: [2, 4] });
  });

  test('without a local perceptron nothing is added to fc3', () => {
    const network = build({ reparam_conv_k: [] });
    const inputs = nodesByName(network).get('stages.0.0.repmlp_block.departition')?.inputs;
    expect(inputs).toEqual(['stages.0.0.repmlp_block.fc3_bn']);
  });

  test('the branches follow fc3 in the order given, each padded to the size of its window', () => {
    const network = build({ reparam_conv_k: [5, 1, 3] });
    const block = 'stages.0.0.repmlp_block';
    expect(nodesByName(network).get(`${block}.add`)?.inputs).toEqual([
      `${block}.fc3_bn`,
      ...[5, 1, 3].map((k) => `${block}.repconv${k}.bn`),
    ]);
    const convolutions = network.nodes.filter((node) => isKind(node, 'conv2d'));
    const paddings = convolutions.filter(({ name }) => name.startsWith(`${block}.repconv`)).map(({ op }) => op.padding);
    expect(paddings).toEqual([
      [2, 2],
      [0, 0],
      [1, 1],
    ]);
  });

  test('no name and no key appears twice, and the input is named input', () => {
    const network = build();
    expect(network.inputs).toEqual(['input']);
    expect(new Set(network.nodes.map(({ name }) => name)).size).toBe(network.nodes.length);
    const keys = network.nodes.flatMap(({ weights }) => Object.values(weights));
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('the size of the input', () => {
  // Stage 0 has windows of 4x3, stage 1 of 4x2; a stage's map is the patches' or half the one before, rounded down.
  test.each<[string, number, number, string]>([
    [
      'the height of stage 0',
      40,
      48,
      "height 40 gives stage 0 a map of height 10, which is no multiple of its windows' 4; the nearest that fit are 32 and 64",
    ],
    [
      'the height of stage 1',
      48,
      48,
      "height 48 gives stage 1 a map of height 6, which is no multiple of its windows' 4; the nearest that fit are 32 and 64",
    ],
    [
      'the width of stage 0',
      32,
      64,
      "width 64 gives stage 0 a map of width 16, which is no multiple of its windows' 3; the nearest that fit are 48 and 96",
    ],
    [
      'the width of stage 1',
      32,
      60,
      "width 60 gives stage 1 a map of width 7, which is no multiple of its windows' 2; the nearest that fit are 48 and 96",
    ],
    ['a height without a map', 0, 48, 'height 0 gives stage 0 a map of height 0, which'],
    ['a negative width', 32, -48, 'width -48 gives stage 0 a map of width -12, which'],
    ['no number', Number.NaN, 48, 'height NaN gives stage 0 a map of height NaN, which'],
  ])('%s: %dx%d is refused', (_name, height, width, message) => {
    const building = () => build({}, { batch: 1, height, width });
    expect(building).toThrow(InputError);
    expect(building).toThrow(`repmlpnet: ${message}`);
  });

  test.each([
    [35, 51],
    [64, 84],
    [32, 36],
  ])('%dx%d fits', (height, width) => {
    const network = build({}, { batch: 1, height, width });
    expect(shapeAt(network, network.output)).toEqual([1, 5]);
  });

  test('that fits nowhere is said so', () => {
    // 64 k rows at stage 0 are 32 k at stage 1, where 129 divides them from k = 129, 33024 pixels, on.
    const building = () => build({ hs: [64, 129] }, { batch: 1, height: 256, width: 48 });
    expect(building).toThrow(InputError);
    expect(building).toThrow(
      "height 256 gives stage 1 a map of height 32, which is no multiple of its windows' 129; no height up to 16384 fits",
    );
  });

  test('must be whole', () => {
    expect(() => build({}, { batch: 1, height: 32.5, width: 48 })).toThrow(InputError);
  });

  test.each([0, -1, 1.5, Number.NaN])('of batch %d is refused', (batch) => {
    const building = () => build({}, { ...SIZE, batch });
    expect(building).toThrow(InputError);
    expect(building).toThrow(`repmlpnet: batch ${batch}; it must be a whole number of at least 1`);
  });
});

describe('what a config leaves out', () => {
  test('has the defaults of the original', () => {
    expect(completeRepMlpNetConfig({})).toEqual({
      family: 'repmlpnet',
      in_channels: 3,
      num_class: 1000,
      patch_size: [4, 4],
      num_blocks: [2, 2, 6, 2],
      channels: [192, 384, 768, 1536],
      hs: [64, 32, 16, 8],
      ws: [64, 32, 16, 8],
      sharesets_nums: [4, 8, 16, 32],
      reparam_conv_k: [3],
      globalperceptron_reduce: 4,
    });
  });

  test("the original's None is no local perceptron", () => {
    expect(completeRepMlpNetConfig({ reparam_conv_k: null }).reparam_conv_k).toEqual([]);
  });
});

test.each(repMlpNet.variants)(
  '$name builds at its resolution, each stage one window',
  ({ config, resolution, name }) => {
    const network = buildRepMlpNet(config, { batch: 2, height: resolution, width: resolution }, name);
    expect(network.name).toBe(name);
    expect(shapeAt(network, network.output)).toEqual([2, 1000]);
    const windows = network.nodes.filter((node) => isKind(node, 'departition')).map(({ op }) => op.parts);
    expect(windows).toEqual(config.num_blocks.flatMap((blocks) => Array.from({ length: blocks }, () => [1, 1])));
  },
);
