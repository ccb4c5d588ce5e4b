import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { cost } from '../interpreters/cost.ts';
import { isKind, type Network } from '../network/ops.ts';
import { buildNetwork } from './config.ts';
import { familyOf, type ModelConfig } from './families.ts';
import { completeRepMlpNetConfig, repMlpNet } from './repmlpnet.ts';
import { completeRepVitConfig, repVit } from './repvit.ts';
import { variants } from './variants.ts';

/** The ways in which rules were combined into regions, in each deploy form. */
function regionsOf(network: Network): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    deployForms(network).map((form) => {
      const regions = fuseTo(form, network).regions.map(({ rules }) => rules.join(' + '));
      return [form.name, [...new Set(regions)].toSorted()];
    }),
  );
}

/** Kinds of op in the train form and in each deploy form. */
function kindsOf(network: Network): Readonly<Record<string, readonly string[]>> {
  const forms = deployForms(network).map((form) => [form.name, fuseTo(form, network).network] as const);
  return Object.fromEntries(
    [['train', network] as const, ...forms].map(([name, { nodes }]) => [
      name,
      [...new Set(nodes.map(({ op }) => op.kind))].toSorted(),
    ]),
  );
}

const square = (side: number) => ({ batch: 1, height: side, width: side });

const own: readonly (readonly [name: string, config: ModelConfig, resolution: number])[] = [
  ['one stage', completeRepVitConfig({ embed_dim: [48], depth: [3] }), 224],
  ['no blocks', completeRepVitConfig({ embed_dim: [48, 96], depth: [0, 0] }), 224],
  ['blocks in the last stage only', completeRepVitConfig({ embed_dim: [8, 8, 8], depth: [0, 0, 2] }), 224],
  [
    'hidden widths that not every width allows',
    completeRepVitConfig({ embed_dim: [50, 70], depth: [1, 1], mlp_ratio: 0.1 }),
    224,
  ],
  ['as narrow as can be', completeRepVitConfig({ embed_dim: [2, 1], depth: [1, 1], in_chans: 1, num_classes: 1 }), 224],
  ['1x1 kernels', completeRepVitConfig({ embed_dim: [48, 96], depth: [1, 1], kernel_size: 1 }), 224],
  [
    '7x7 kernels, legacy, one head',
    completeRepVitConfig({ embed_dim: [48, 96], depth: [1, 1], kernel_size: 7, legacy: true, distillation: false }),
    224,
  ],
  ['63x63 kernels', completeRepVitConfig({ embed_dim: [8], depth: [1], kernel_size: 63 }), 224],
  ["the original's defaults", completeRepMlpNetConfig({}), 256],
  ['no local perceptron', completeRepMlpNetConfig({ reparam_conv_k: [] }), 256],
  ['four branches', completeRepMlpNetConfig({ reparam_conv_k: [1, 3, 5, 7] }), 256],
  [
    'one stage, one share-set, oblong patches',
    completeRepMlpNetConfig({
      channels: [8],
      hs: [4],
      ws: [8],
      num_blocks: [2],
      sharesets_nums: [1],
      patch_size: [4, 2],
    }),
    16,
  ],
  [
    'as narrow as can be',
    completeRepMlpNetConfig({
      channels: [1, 1],
      hs: [2, 1],
      ws: [2, 1],
      num_blocks: [1, 0],
      sharesets_nums: [1, 1],
      globalperceptron_reduce: 1,
    }),
    8,
  ],
];

const published = variants.map(({ name, config, resolution }) => [name, config, resolution] as const);

/** So that fractions, at about a microsecond each, take less than a second; of 63x63 kernels most fall on padding. */
const MOST_MACS = 500_000;

describe.each([...published, ...own])('the miniature of %s', (_name, config, resolution) => {
  const family = familyOf(config);
  const miniature = family.miniature(config);
  const small = buildNetwork(miniature.config, miniature.size);
  const network = buildNetwork(config, square(resolution));

  test('is a network of the family, and its own miniature', () => {
    family.check(miniature.config, 'miniature');
    expect(family.miniature(miniature.config)).toEqual(miniature);
  });

  test('combines the same rules into regions, out of the same ops', () => {
    expect(regionsOf(small)).toEqual(regionsOf(network));
    expect(kindsOf(small)).toEqual(kindsOf(network));
  });

  test('is small, and not square', () => {
    expect(cost(small).total.macs).toBeLessThan(MOST_MACS);
    expect(cost(small).total.parameters).toBeLessThanOrEqual(cost(network).total.parameters);
    expect(miniature.size.batch).toBe(1);
    expect(miniature.size.height).not.toBe(miniature.size.width);
  });
});

test.each(repVit.variants)('the miniature of $name has its flags', ({ config }) => {
  const { distillation, legacy, kernel_size, mlp_ratio } = config;
  expect(repVit.miniature(config).config).toMatchObject({ distillation, legacy, kernel_size, mlp_ratio });
});

test.each(repMlpNet.variants)('the miniature of $name has several windows, channels and share-sets', ({ config }) => {
  const { config: small, size } = repMlpNet.miniature(config);
  const parts = repMlpNet
    .build(small, size)
    .nodes.flatMap((node) => (isKind(node, 'departition') ? [[...node.op.parts, node.op.channels]] : []));
  expect(parts).toEqual([
    [4, 2, 2],
    [2, 1, 4],
  ]);
  expect(small).toMatchObject({ sharesets_nums: [1, 2], reparam_conv_k: config.reparam_conv_k });
});
