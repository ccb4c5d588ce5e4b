import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../network/errors.ts';
import { buildNetwork, loadConfig, parseConfig, resolveModel, resolveModels } from './config.ts';
import { families } from './families.ts';
import { variants } from './variants.ts';

const MINIMAL = { family: 'repvit', embed_dim: [16, 24, 40], depth: [1, 2, 1] };
const MINIMAL_MLP = {
  family: 'repmlpnet',
  channels: [8, 16],
  hs: [4, 2],
  ws: [8, 4],
  num_blocks: [1, 2],
  sharesets_nums: [2, 4],
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-config-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

describe('parseConfig', () => {
  it('fills in the defaults of timm', async () => {
    expect(await parseConfig(MINIMAL, 'mine')).toEqual({
      ...MINIMAL,
      in_chans: 3,
      mlp_ratio: 2,
      kernel_size: 3,
      num_classes: 1000,
      distillation: true,
      legacy: false,
    });
  });

  it('takes every field', async () => {
    const config = {
      ...MINIMAL,
      in_chans: 1,
      mlp_ratio: 1.5,
      kernel_size: 7,
      num_classes: 7,
      distillation: false,
      legacy: true,
    };
    expect(await parseConfig(config, 'mine')).toEqual(config);
  });

  it('fills in the defaults of the original RepMLPNet', async () => {
    expect(await parseConfig(MINIMAL_MLP, 'mine')).toEqual({
      ...MINIMAL_MLP,
      in_channels: 3,
      num_class: 1000,
      patch_size: [4, 4],
      reparam_conv_k: [3],
      globalperceptron_reduce: 4,
    });
  });

  it('takes every field of RepMLPNet', async () => {
    const config = {
      ...MINIMAL_MLP,
      in_channels: 1,
      num_class: 7,
      patch_size: [4, 2],
      reparam_conv_k: [5, 1],
      globalperceptron_reduce: 2,
    };
    expect(await parseConfig(config, 'mine')).toEqual(config);
  });

  it.each([[null], [[]]])('takes reparam_conv_k %j for no local perceptron', async (reparam_conv_k) => {
    expect(await parseConfig({ ...MINIMAL_MLP, reparam_conv_k }, 'mine')).toMatchObject({ reparam_conv_k: [] });
  });

  it.each(Object.entries(families))('knows the fields that the builder of %s knows', async (name, family) => {
    const { properties } = await family.schema();
    expect(Object.keys(properties).sort()).toEqual(Object.keys(family.complete({})).sort());
    expect(properties.family).toMatchObject({ enum: [name] });
  });

  it.each(variants.map(({ name, config }) => [name, config] as const))('takes the config of %s', async (_, config) => {
    expect(await parseConfig(config, 'published')).toEqual(config);
  });

  it.each([
    ['negative width', { embed_dim: [16, -24, 40] }, 'embed_dim[1] is -24; it must be at least 1'],
    ['zero width', { embed_dim: [0, 24, 40] }, 'embed_dim[0] is 0; it must be at least 1'],
    ['width that the stem cannot halve', { embed_dim: [1, 24, 40] }, 'embed_dim[0] is 1; the stem halves it'],
    ['fractional width', { embed_dim: [16, 24.5, 40] }, 'embed_dim[1] is 24.5; it must be a whole number'],
    ['width beyond the limit', { embed_dim: [16, 65537, 40] }, 'embed_dim[1] is 65537; it must be at most 65536'],
    ['width that is no number', { embed_dim: [16, '24', 40] }, 'embed_dim[1] is "24"; it must be a whole number'],
    ['no stages', { embed_dim: [], depth: [] }, 'embed_dim is empty'],
    ['too many stages', { embed_dim: Array(17).fill(16) }, 'embed_dim has more than 16 stages'],
    ['widths that are no list', { embed_dim: 16 }, 'embed_dim is 16; it must be of type array'],
    ['negative depth', { depth: [1, 2, -1] }, 'depth[2] is -1; it must be at least 0'],
    ['depth beyond the limit', { depth: [1, 2, 9999] }, 'depth[2] is 9999; it must be at most 1024'],
    ['lengths that differ', { depth: [1, 2] }, 'embed_dim has 3 stages, depth has 2'],
    ['even kernel', { kernel_size: 4 }, 'kernel_size is 4; it must be odd'],
    ['kernel of 0', { kernel_size: 0 }, 'kernel_size is 0; it must be'],
    ['hidden width that is not whole', { mlp_ratio: 1.2 }, 'mlp_ratio is 1.2, and times embed_dim[0] = 16 it gives'],
    ['mlp_ratio of 0', { mlp_ratio: 0 }, 'mlp_ratio is 0; it must be more than 0'],
    ['no classes', { num_classes: 0 }, 'num_classes is 0; it must be at least 1'],
    ['flag that is no boolean', { legacy: 'yes' }, 'legacy is "yes"; it must be of type boolean'],
    ['unknown family', { family: 'resnet' }, 'family is "resnet"; it must be one of repvit'],
    [
      'mistyped family',
      { family: 'RepMLPNet' },
      'family is "RepMLPNet"; it must be one of repvit, repmlpnet; did you mean repmlpnet?',
    ],
    ['family that every object has', { family: 'toString' }, 'family is "toString"; it must be one of repvit'],
    ['family that is no word', { family: 3 }, 'family is 3; it must be one of repvit, repmlpnet'],
    ['missing family', { family: undefined }, 'family is missing; it must be one of repvit, repmlpnet'],
    ["field in RepMLPNet's spelling", { num_blocks: [1] }, 'unknown field "num_blocks"; did you mean depth?'],
    ['unknown field', { kernelsize: 3 }, 'unknown field "kernelsize"; did you mean kernel_size?'],
    ['mistyped required field', { embed_dim: undefined, embed_dims: [16] }, 'did you mean embed_dim?'],
    ['missing field', { depth: undefined }, 'depth is missing'],
  ])('refuses a %s', async (_, change, message) => {
    const value: unknown = JSON.parse(JSON.stringify({ ...MINIMAL, ...change }));
    const parsed = parseConfig(value, 'mine.json');
    await expect(parsed).rejects.toThrow(InputError);
    await expect(parsed).rejects.toThrow(`mine.json: `);
    await expect(parsed).rejects.toThrow(message);
  });

  it.each([
    ['list that is too short', { hs: [4] }, 'channels has 2 stages, hs has 1; give both one number for each stage'],
    ['list that is too long', { num_blocks: [1, 2, 1] }, 'channels has 2 stages, num_blocks has 3'],
    ['lists of another length', { channels: [8] }, 'channels has 1 stages, hs has 2'],
    [
      'share-sets that do not divide the channels',
      { sharesets_nums: [2, 3] },
      'sharesets_nums[1] is 3, and channels[1] = 16 cannot be dealt to so many share-sets; give a divisor of 16',
    ],
    [
      'more share-sets than channels',
      { sharesets_nums: [16, 4] },
      'sharesets_nums[0] is 16, and channels[0] = 8 cannot',
    ],
    [
      'global perceptron of no width',
      { globalperceptron_reduce: 9 },
      'globalperceptron_reduce is 9, and channels[0] = 8 over it leaves the global perceptron no inner channel; give at most 8',
    ],
    ['even kernel', { reparam_conv_k: [1, 4] }, 'reparam_conv_k[1] is 4; it must be odd'],
    ['kernel twice', { reparam_conv_k: [3, 3] }, 'reparam_conv_k is [3,3]; each number may stand there once'],
    ['kernel of 0', { reparam_conv_k: [0] }, 'reparam_conv_k[0] is 0; it must be'],
    ['kernel that is no list', { reparam_conv_k: 3 }, 'reparam_conv_k is 3; it must be of type array or null'],
    ['zero width', { channels: [0, 16] }, 'channels[0] is 0; it must be at least 1'],
    ['negative window', { ws: [8, -4] }, 'ws[1] is -4; it must be at least 1'],
    ['fractional window', { hs: [4, 2.5] }, 'hs[1] is 2.5; it must be a whole number'],
    ['window beyond the limit', { hs: [1025, 2] }, 'hs[0] is 1025; it must be at most 1024'],
    ['no share-sets', { sharesets_nums: [0, 4] }, 'sharesets_nums[0] is 0; it must be at least 1'],
    ['negative depth', { num_blocks: [-1, 2] }, 'num_blocks[0] is -1; it must be at least 0'],
    ['no classes', { num_class: 0 }, 'num_class is 0; it must be at least 1'],
    ['fractional reduction', { globalperceptron_reduce: 1.5 }, 'globalperceptron_reduce is 1.5; it must be a whole'],
    ['patch of one number', { patch_size: [4] }, 'patch_size is [4]; it must have 2 numbers'],
    ['patch of three numbers', { patch_size: [4, 4, 4] }, 'patch_size is [4,4,4]; it must have 2 numbers'],
    ['no stages', { channels: [] }, 'channels is empty; one number for each stage is needed'],
    ["field in timm's spelling", { num_classes: 10 }, 'unknown field "num_classes"; did you mean num_class?'],
    ["width in timm's spelling", { embed_dim: [8, 16] }, 'unknown field "embed_dim"; did you mean channels?'],
    ["input in PyTorch's spelling", { in_chans: 3 }, 'unknown field "in_chans"; did you mean in_channels?'],
    ['mistyped required field', { hs: undefined, h: [4, 2] }, 'unknown field "h"; did you mean hs?'],
    [
      'missing field',
      { ws: undefined },
      'ws is missing; a config needs family, channels, hs, ws, num_blocks, sharesets_nums',
    ],
  ])('refuses a RepMLPNet with %s', async (_, change, message) => {
    const value: unknown = JSON.parse(JSON.stringify({ ...MINIMAL_MLP, ...change }));
    const parsed = parseConfig(value, 'mine.json');
    await expect(parsed).rejects.toThrow(InputError);
    await expect(parsed).rejects.toThrow(`mine.json: ${message}`);
  });

  it.each([[null], [[1, 2]], ['repvit'], [3]])('refuses %j, which is no object', async (value) => {
    await expect(parseConfig(value, 'mine.json')).rejects.toThrow('mine.json: the config is');
  });
});

describe('loadConfig', () => {
  it('reads a file', async () => {
    const path = await file('tiny.json', JSON.stringify(MINIMAL));
    expect(await loadConfig(path)).toMatchObject({ family: 'repvit', embed_dim: [16, 24, 40] });
  });

  it('reads the example of RepMLPNet', async () => {
    const path = fileURLToPath(new URL('../../golden/examples/repmlpnet.json', import.meta.url));
    expect(await loadConfig(path)).toMatchObject({ family: 'repmlpnet', ws: [8, 4, 2, 1], reparam_conv_k: [1, 3] });
  });

  it('says that a file is not JSON', async () => {
    const path = await file('broken.json', '{"family": ');
    await expect(loadConfig(path)).rejects.toThrow(`${path}: not JSON`);
  });

  it('says that a file is missing, or is a folder', async () => {
    const path = join(folder, 'absent.json');
    await expect(loadConfig(path)).rejects.toThrow(`${path}: no such file`);
    await expect(loadConfig(folder)).rejects.toThrow(`${folder}: cannot be read (EISDIR)`);
  });
});

describe('resolveModel', () => {
  it('finds a published network with its resolution', async () => {
    const { name, resolution, config } = await resolveModel('repvit_m0_9_cifar100');
    expect([name, resolution]).toEqual(['repvit_m0_9_cifar100', 32]);
    expect(config).toMatchObject({ family: 'repvit', num_classes: 100 });
  });

  it('finds a published RepMLPNet with its resolution', async () => {
    const { name, resolution, config } = await resolveModel('repmlpnet_t256');
    expect([name, resolution]).toEqual(['repmlpnet_t256', 256]);
    expect(config).toMatchObject({ family: 'repmlpnet', hs: [64, 32, 16, 8], reparam_conv_k: [1, 3] });
  });

  it('reads a config file, named after it, at 224 pixels', async () => {
    const path = await file('mine.json', JSON.stringify({ ...MINIMAL, depth: [0, 1, 0] }));
    const { name, resolution, config } = await resolveModel(path);
    expect([name, resolution]).toEqual(['mine', 224]);
    expect(buildNetwork(config, { batch: 2, height: 32, width: 48 }, name).nodes[0]?.shape).toEqual([2, 3, 32, 48]);
  });

  it.each([
    ['224 where it fits', { hs: [7, 7], ws: [14, 7] }, 224],
    ['the next that fits', { hs: [64, 32], ws: [64, 32] }, 256],
    // Maps that halve to multiples of 45 and of 60 are multiples of 90 and of 120, so of 360; times the patch's 4.
    ['the next that fits both axes', { hs: [45, 45], ws: [60, 60] }, 1440],
    ['224 where nothing fits, so that the build says why', { hs: [1024, 1023], ws: [4, 2] }, 224],
  ])("reads a RepMLPNet of the user's at %s", async (_, windows, expected) => {
    const path = await file('mlp.json', JSON.stringify({ ...MINIMAL_MLP, ...windows }));
    expect((await resolveModel(path)).resolution).toBe(expected);
  });

  it('suggests the nearest name', async () => {
    const resolved = resolveModel('repvit_m09');
    await expect(resolved).rejects.toThrow(InputError);
    await expect(resolved).rejects.toThrow('unknown model "repvit_m09"; did you mean repvit_m0_9?');
  });
});

describe('resolveModels', () => {
  it.each([[undefined], [[]], [['all']], [['repvit_m3', 'all']]])(
    '%j is every published network once',
    async (names) => {
      const resolved = await resolveModels(names);
      expect(resolved.map(({ name }) => name).sort()).toEqual(variants.map(({ name }) => name).sort());
    },
  );

  it('keeps the order given and drops repetitions', async () => {
    const resolved = await resolveModels(['repvit_m3', 'repvit_m0_6', 'repvit_m3']);
    expect(resolved.map(({ name }) => name)).toEqual(['repvit_m3', 'repvit_m0_6']);
  });

  it('refuses two models of one name', async () => {
    const path = await file('repvit_m3.json', JSON.stringify(MINIMAL));
    await expect(resolveModels(['repvit_m3', path])).rejects.toThrow(
      `repvit_m3 and ${path} are both called repvit_m3; rename one of them`,
    );
  });
});
