import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { nodesByName, weightShapesByKey } from '../network/graph.ts';
import { isKind, type Network } from '../network/ops.ts';
import { buildRepVit, completeRepVitConfig, type RepVitConfig, repVit, smallestSize } from './repvit.ts';

const SIZE = { batch: 1, height: 64, width: 64 };

function build(config: Partial<RepVitConfig> = {}, size = SIZE): Network {
  return buildRepVit(completeRepVitConfig(config), size);
}

const NORM = ['weight', 'bias', 'running_mean', 'running_var'];
const norm = (module: string) => NORM.map((role) => `${module}.${role}`);
const convNorm = (module: string) => [`${module}.c.weight`, ...norm(`${module}.bn`)];
const conv = (module: string) => [`${module}.weight`, `${module}.bias`];

function keysUnder(network: Network, module: string): string[] {
  return [...weightShapesByKey(network).keys()].filter((key) => key.startsWith(`${module}.`));
}

const shapeAt = (network: Network, name: string) => nodesByName(network).get(name)?.shape;

describe('the keys are those of timm', () => {
  test.each([
    [false, [...convNorm('conv'), ...conv('conv1'), ...norm('bn')]],
    [true, [...convNorm('conv'), ...convNorm('conv1')]],
  ])('of a block, legacy %s', (legacy, mixer) => {
    const block = 'stages.0.blocks.0';
    expect(keysUnder(build({ legacy }), block).toSorted()).toEqual(
      [
        ...mixer.map((key) => `token_mixer.${key}`),
        ...conv('se.fc1'),
        ...conv('se.fc2'),
        ...convNorm('channel_mixer.conv1'),
        ...convNorm('channel_mixer.conv2'),
      ]
        .map((key) => `${block}.${key}`)
        .toSorted(),
    );
  });

  test('of the stem', () => {
    expect(keysUnder(build(), 'stem')).toEqual([...convNorm('stem.conv1'), ...convNorm('stem.conv2')]);
  });

  test('of a downsampling: a block without SE, two ConvNorms, an FFN', () => {
    const keys = keysUnder(build({ embed_dim: [8, 16], depth: [1, 1] }), 'stages.1.downsample');
    const modules = ['spatial_downsample', 'channel_downsample', 'ffn.conv1', 'ffn.conv2'];
    expect(keys.filter((key) => !key.includes('pre_block'))).toEqual(
      modules.flatMap((module) => convNorm(`stages.1.downsample.${module}`)),
    );
    const inBlock = keys.filter((key) => key.includes('pre_block'));
    expect(inBlock.filter((key) => key.includes('.se.'))).toEqual([]);
    expect(inBlock).toHaveLength(5 + 2 + 4 + 10);
  });

  test('of two heads and of one', () => {
    const head = (name: string) => [...norm(`head.${name}.bn`), ...conv(`head.${name}.l`)];
    expect(keysUnder(build({ distillation: true }), 'head')).toEqual([...head('head'), ...head('head_dist')]);
    expect(keysUnder(build({ distillation: false }), 'head')).toEqual(head('head'));
  });
});

describe('structure', () => {
  test('every second block has SE, beginning with the first', () => {
    const network = build({ embed_dim: [8, 8], depth: [3, 2] });
    const gates = network.nodes.filter(({ op }) => op.kind === 'mul').map(({ name }) => name);
    expect(gates).toEqual(['stages.0.blocks.0.se.mul', 'stages.0.blocks.2.se.mul', 'stages.1.blocks.0.se.mul']);
  });

  test.each([
    [8, 8],
    [40, 8],
    [48, 16], // 12 is as far from 8 as from 16: up
    [56, 16],
    [80, 24],
    [96, 24],
    [320, 80],
    [640, 160],
  ])('SE on %d channels squeezes to %d', (channels, squeezed) => {
    const network = build({ embed_dim: [channels], depth: [1] });
    expect(shapeAt(network, 'stages.0.blocks.0.se.fc1')).toEqual([1, squeezed, 1, 1]);
    expect(shapeAt(network, 'stages.0.blocks.0.se.fc2')).toEqual([1, channels, 1, 1]);
  });

  test.each([1, 5, 7])('kernel size %d is that of the depthwise convolutions alone', (kernel_size) => {
    const network = build({ kernel_size, embed_dim: [8, 16], depth: [1, 1] });
    const sizes = new Map<string, number>();
    for (const node of network.nodes) if (isKind(node, 'conv2d')) sizes.set(node.name, node.op.kernel[0]);
    const mixers = [...sizes.keys()].filter((name) => name.endsWith('token_mixer.conv.c'));
    expect(mixers).toHaveLength(3);
    for (const name of [...mixers, 'stages.1.downsample.spatial_downsample.c']) {
      expect(sizes.get(name)).toBe(kernel_size);
    }
    expect([sizes.get('stem.conv1.c'), sizes.get('stem.conv2.c')]).toEqual([3, 3]);
    expect(sizes.get('stages.0.blocks.0.token_mixer.conv1')).toBe(1);
    // A mixer leaves its map as it is, whatever its kernel.
    expect(shapeAt(network, 'stages.0.blocks.0.token_mixer.add')).toEqual([1, 8, 16, 16]);
    expect(shapeAt(network, 'stages.1.blocks.0.token_mixer.add')).toEqual([1, 16, 8, 8]);
  });

  test.each([1, 2, 3, 4, 5])('%d stages, each but the first halving the map', (stages) => {
    const embed_dim = [8, 16, 24, 32, 40].slice(0, stages);
    const network = build({ embed_dim, depth: embed_dim.map(() => 1) }, { batch: 3, height: 96, width: 64 });
    embed_dim.forEach((channels, stage) => {
      const size = [96, 64].map((length) => Math.ceil(length / 2 ** (stage + 2)));
      expect(shapeAt(network, `stages.${stage}.blocks.0.add`)).toEqual([3, channels, ...size]);
    });
    expect(network.nodes.some(({ name }) => name.startsWith(`stages.${stages}.`))).toBe(false);
    expect(shapeAt(network, network.output)).toEqual([3, 1000]);
  });

  test('a stage of no blocks is its downsampling alone', () => {
    const network = build({ embed_dim: [8, 16], depth: [1, 0] });
    expect(network.nodes.some(({ name }) => name.startsWith('stages.1.blocks'))).toBe(false);
    expect(nodesByName(network).get('global_pool')?.inputs).toEqual(['stages.1.downsample.add']);
  });

  test('the FFN is mlp_ratio times as wide as its input', () => {
    const network = build({ mlp_ratio: 3, embed_dim: [8], depth: [1] });
    expect(shapeAt(network, 'stages.0.blocks.0.channel_mixer.act')).toEqual([1, 24, 16, 16]);
  });

  test('in_chans and num_classes are those of the input and of the logits', () => {
    const network = build({ in_chans: 1, num_classes: 10 });
    expect(shapeAt(network, 'input')).toEqual([1, 1, 64, 64]);
    expect(shapeAt(network, network.output)).toEqual([1, 10]);
  });

  test('the input is named input, and no name appears twice', () => {
    const network = build({ embed_dim: [8, 16], depth: [2, 2] });
    expect(network.inputs).toEqual(['input']);
    expect(new Set(network.nodes.map(({ name }) => name)).size).toBe(network.nodes.length);
    const keys = network.nodes.flatMap(({ weights }) => Object.values(weights));
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('the size of the input', () => {
  const four = { embed_dim: [8, 16, 24, 32], depth: [1, 1, 1, 1] };

  test('of 17 is the smallest for four stages', () => {
    expect(smallestSize(completeRepVitConfig(four))).toBe(17);
    const network = build(four, { batch: 1, height: 17, width: 17 });
    expect(shapeAt(network, 'stages.3.blocks.0.add')).toEqual([1, 32, 1, 1]);
  });

  test.each([
    [16, 17],
    [17, 16],
    [16, 16],
    [0, 64],
    [Number.NaN, 64],
  ])('of %dx%d is too small for four stages', (height, width) => {
    const building = () => build(four, { batch: 1, height, width });
    expect(building).toThrow(InputError);
    expect(building).toThrow(`repvit: size ${height}x${width} is too small; its 4 stages need at least 17x17`);
  });

  test.each([0, -1, 1.5, Number.NaN])('of batch %d is refused', (batch) => {
    const building = () => build({}, { batch, height: 64, width: 64 });
    expect(building).toThrow(InputError);
    expect(building).toThrow(`repvit: batch ${batch}; it must be a whole number of at least 1`);
  });

  test('must be whole', () => {
    expect(() => build({}, { batch: 1, height: 64.5, width: 64 })).toThrow(InputError);
  });
});

test('what a config leaves out has the defaults of timm', () => {
  expect(completeRepVitConfig({})).toEqual({
    family: 'repvit',
    in_chans: 3,
    embed_dim: [48],
    depth: [2],
    mlp_ratio: 2,
    kernel_size: 3,
    num_classes: 1000,
    distillation: true,
    legacy: false,
  });
});

test.each(repVit.variants)('$name builds at its resolution', ({ name, config, resolution }) => {
  const network = buildRepVit(config, { batch: 1, height: resolution, width: resolution }, name);
  expect(network.name).toBe(name);
  expect(shapeAt(network, network.output)).toEqual([1, config.num_classes]);
  const last = `stages.${config.embed_dim.length - 1}.blocks.${config.depth.at(-1)! - 1}.add`;
  expect(shapeAt(network, last)).toEqual([1, config.embed_dim.at(-1), resolution / 32, resolution / 32]);
});
