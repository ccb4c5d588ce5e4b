import { describe, expect, it, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import type { Shape, Weights } from '../network/tensor.ts';
import { buildNetwork, parseConfig } from './config.ts';
import { recognise, soleModel } from './recognise.ts';
import { variants } from './variants.ts';

/** Weights without values: of them only keys and shapes are looked at. */
function shapesOf(network: Network): Map<string, { shape: Shape; data: Float32Array }> {
  return new Map([...weightShapesByKey(network)].map(([key, shape]) => [key, { shape, data: new Float32Array() }]));
}

const trainOf = async (given: object, side: number, name = 'm') => {
  const config = await parseConfig(given, name);
  return buildNetwork(config, { batch: 1, height: side, width: side }, name);
};

async function messageOf(weights: Weights): Promise<string> {
  try {
    soleModel(await recognise(weights, 'mine', 'm.pth'), 'm.pth');
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return String(error);
  }
  throw new Error('the network was recognised');
}

describe.each(variants)('$name', ({ name, config, resolution }) => {
  const network = buildNetwork(config, { batch: 1, height: resolution, width: resolution }, name);

  test('is recognised by its train form', async () => {
    const recognised = await recognise(shapesOf(network), 'mine', 'm.pth');
    expect(recognised).toMatchObject({ form: 'train', open: [], published: [name] });
    expect(soleModel(recognised, 'm.pth')).toEqual({ name, config, resolution });
  });

  test('its deploy forms are told apart, and leave open what they were fused from', async () => {
    for (const form of deployForms(network)) {
      const fused = shapesOf(fuseTo(form, network).network);
      const recognised = await recognise(fused, 'mine', 'm.pth');
      expect(recognised.form).toBe(form.name);
      expect(recognised.published).toContain(name);
      expect(() => soleModel(recognised, 'm.pth')).toThrow(/leave open .*Say which with --model/);
    }
  });
});

describe("a network of the user's own", () => {
  it.each<[what: string, given: object, side: number]>([
    ['RepViT of one stage', { family: 'repvit', embed_dim: [12], depth: [3], num_classes: 5, distillation: false }, 32],
    ['with no block in the first stage', { family: 'repvit', embed_dim: [8, 16], depth: [0, 1], kernel_size: 7 }, 32],
    [
      'legacy with two heads, grey',
      { family: 'repvit', embed_dim: [8, 16], depth: [1, 1], legacy: true, in_chans: 1 },
      32,
    ],
    ['with a broad FFN', { family: 'repvit', embed_dim: [8, 16], depth: [1, 1], mlp_ratio: 2.5, kernel_size: 1 }, 32],
    [
      'RepMLPNet',
      {
        family: 'repmlpnet',
        channels: [8, 12],
        num_blocks: [2, 1],
        hs: [4, 2],
        ws: [4, 2],
        sharesets_nums: [2, 3],
        patch_size: [4, 2],
        num_class: 3,
      },
      32,
    ],
    [
      'without local perceptron, with another reduction',
      {
        family: 'repmlpnet',
        channels: [18],
        num_blocks: [1],
        hs: [3],
        ws: [3],
        sharesets_nums: [6],
        reparam_conv_k: null,
        globalperceptron_reduce: 9,
      },
      36,
    ],
  ])('%s', async (_what, given, side) => {
    const config = await parseConfig(given, 'm');
    const { model } = await recognise(shapesOf(await trainOf(given, side)), 'mine', 'm.pth');
    expect(model).toMatchObject({ name: 'mine', config });
  });
});

describe('what is ambiguous lists what fits', () => {
  test('of a fused RepViT the published ones, of both flavours', async () => {
    const network = await trainOf({ family: 'repvit', embed_dim: [64, 128, 256, 512], depth: [2, 2, 12, 2] }, 224);
    const [form] = deployForms(network);
    expect(await messageOf(shapesOf(fuseTo(form!, network).network))).toContain(
      'leave open legacy (true or false); distillation (true or false); published networks that fit: repvit_m1_1, repvit_m2. Say which',
    );
  });

  test('of windows that are no squares every height and width', async () => {
    const given = { family: 'repmlpnet', channels: [8], num_blocks: [1], hs: [2], ws: [4], sharesets_nums: [2] };
    expect(await messageOf(shapesOf(await trainOf(given, 32)))).toContain(
      'leave open hs and ws (stage 0: 1x8, 2x4, 4x2, 8x1); no published network fits. Say which with --model',
    );
  });
});

describe('refuses', () => {
  test('keys of no network', async () => {
    const keys = ['conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight', 'fc.weight'];
    const weights: Weights = new Map(keys.map((key) => [key, { shape: [1], data: Float32Array.of(1) }]));
    expect(await messageOf(weights)).toContain(
      'its 4 keys (conv1.weight, bn1.weight, layer1.0.conv1.weight, ...) are of no network that is known: repvit, repmlpnet',
    );
  });

  test('a part of a network', async () => {
    const weights = shapesOf(await trainOf({ family: 'repvit', embed_dim: [8], depth: [1] }, 32));
    weights.delete('head.head.l.weight');
    expect(await messageOf(weights)).toContain('m.pth, as a network: num_classes is 0; it must be at least 1');
  });

  test.each([
    ['0 dimensions', []],
    ['huge ones', [2 ** 40, 2 ** 40, 2 ** 40, 2 ** 40]],
  ])('shapes of %s', async (_what, shape) => {
    for (const family of ['repvit', 'repmlpnet']) {
      const given =
        family === 'repvit'
          ? { family, embed_dim: [8], depth: [1] }
          : { family, channels: [8], num_blocks: [1], hs: [2], ws: [2], sharesets_nums: [2] };
      const weights: Weights = new Map(
        [...shapesOf(await trainOf(given, 32)).keys()].map((key) => [key, { shape, data: new Float32Array() }]),
      );
      expect(await messageOf(weights)).toContain('m.pth, as a network: ');
    }
  });
});
