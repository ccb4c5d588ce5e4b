import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../network/errors.ts';
import schema from './config.schema.json' with { type: 'json' };
import { buildNetwork, loadConfig, parseConfig, resolveModel, resolveModels } from './config.ts';
import { completeRepVitConfig } from './repvit.ts';
import { variants } from './variants.ts';

const MINIMAL = { family: 'repvit', embed_dim: [16, 24, 40], depth: [1, 2, 1] };

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

  it('knows the fields that the builder knows', () => {
    expect(Object.keys(schema.properties).sort()).toEqual(Object.keys(completeRepVitConfig({})).sort());
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

  it.each([[null], [[1, 2]], ['repvit'], [3]])('refuses %j, which is no object', async (value) => {
    await expect(parseConfig(value, 'mine.json')).rejects.toThrow('mine.json: the config is');
  });
});

describe('loadConfig', () => {
  it('reads a file', async () => {
    const path = await file('tiny.json', JSON.stringify(MINIMAL));
    expect((await loadConfig(path)).embed_dim).toEqual([16, 24, 40]);
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
    expect([name, resolution, config.num_classes]).toEqual(['repvit_m0_9_cifar100', 32, 100]);
  });

  it('reads a config file, named after it, at 224 pixels', async () => {
    const path = await file('mine.json', JSON.stringify({ ...MINIMAL, depth: [0, 1, 0] }));
    const { name, resolution, config } = await resolveModel(path);
    expect([name, resolution]).toEqual(['mine', 224]);
    expect(buildNetwork(config, { batch: 2, height: 32, width: 48 }, name).nodes[0]?.shape).toEqual([2, 3, 32, 48]);
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
