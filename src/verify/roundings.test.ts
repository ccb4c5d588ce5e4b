import { describe, expect, test } from 'vitest';
import { roundingsField } from '../fused/field.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse, fuseIn } from '../fused/fuse.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { elements } from '../network/tensor.ts';
import { buildNetwork } from '../reference/config.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { variants } from '../reference/variants.ts';
import { roundingsOf } from './roundings.ts';

/** Counted through every region. */
function byEveryStep(fusion: Fusion): ReadonlyMap<string, number> {
  const shapes = weightShapesByKey(fusion.reference);
  const most = new Map<string, number>();
  fuseIn(
    fusion,
    roundingsField,
    (key) => new Float64Array(elements(shapes.get(key)!)),
    (key, _shape, counts) =>
      most.set(
        key,
        Array.from(counts).reduce((a, b) => Math.max(a, b), 0),
      ),
  );
  const largest = (keys: readonly string[]) => Math.max(0, ...keys.map((key) => most.get(key) ?? 0));
  return new Map(fusion.network.nodes.map(({ name, weights }) => [name, largest(Object.values(weights))]));
}

const tiny = completeRepVitConfig({ embed_dim: [8, 16, 16], depth: [2, 3, 1], num_classes: 5 });
const tinyMlp = completeRepMlpNetConfig({
  channels: [4, 8],
  hs: [4, 2],
  ws: [2, 4],
  num_blocks: [2, 2],
  sharesets_nums: [2, 4],
  reparam_conv_k: [1, 3],
  num_class: 5,
});
const references = [
  ...[true, false].map((legacy) =>
    buildRepVit({ ...tiny, legacy }, { batch: 1, height: 32, width: 32 }, `RepViT, legacy ${legacy}`),
  ),
  buildRepVit({ ...tiny, distillation: false }, { batch: 1, height: 32, width: 32 }, 'RepViT, one head'),
  buildRepMlpNet(tinyMlp, { batch: 1, height: 32, width: 32 }, 'RepMLPNet'),
  ...variants
    .filter(({ name }) => name === 'repvit_m0_6')
    .map(({ name, config }) => buildNetwork(config, { batch: 1, height: 64, width: 64 }, name)),
];
const fusions = references.flatMap((reference) =>
  deployForms(reference).map((form) => ({ name: `${reference.name}, ${form.name}`, fusion: fuseTo(form, reference) })),
);

describe('roundings on the way to a deploy weight', () => {
  test.each(fusions)('$name: as through every region', ({ fusion }) => {
    const counts = roundingsOf(fusion);
    expect(counts).toEqual(byEveryStep(fusion));
    expect(Math.max(...counts.values())).toBeGreaterThan(4);
  });

  test('of a fused convolution: sqrt, +, / and the product', () => {
    const builder = new NetworkBuilder('conv-bn');
    const x = builder.input('input', [1, 2, 4, 4]);
    const op = { kind: 'conv2d', outChannels: 3, kernel: [1, 1], stride: [1, 1], padding: [0, 0] } as const;
    const conv = builder.add('c', { ...op, dilation: [1, 1], groups: 1, bias: false }, [x]);
    const bn = builder.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [conv]);
    const fusion = fuse(builder.build(builder.add('act', { kind: 'relu' }, [bn])));
    // weight * (gamma / sqrt(var + eps)) has 4; beta - mean * factor has 3 + 1 + 1.
    expect([...roundingsOf(fusion)]).toEqual([
      ['input', 0],
      ['c', 5],
      ['act', 0],
    ]);
  });
});
