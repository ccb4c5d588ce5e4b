import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { fuseWeights, roundWeights } from '../fused/fuse.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { toFloat64 } from '../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { randomWeights } from '../weights/random.ts';
import { DeployWeights } from './deploy-weights.ts';
import { pieces } from './pieces.ts';

const vit = completeRepVitConfig({ embed_dim: [8, 16], depth: [2, 1], num_classes: 5 });
const mlp = completeRepMlpNetConfig({
  channels: [4, 8],
  hs: [4, 2],
  ws: [2, 4],
  num_blocks: [2, 1],
  sharesets_nums: [2, 4],
  reparam_conv_k: [1, 3],
  num_class: 5,
});
const size = { batch: 1, height: 32, width: 32 };
const forms = [buildRepVit(vit, size), buildRepMlpNet(mlp, size)].flatMap((reference) =>
  deployForms(reference).map((form) => ({ name: `${reference.name}, ${form.name}`, fusion: fuseTo(form, reference) })),
);

describe.each(forms)('$name', ({ fusion }) => {
  const weights = randomWeights(fusion.reference, 7);
  const unrounded = fuseWeights(fusion, weights);
  const rounded = roundWeights(unrounded);

  test('piece by piece they are those of the whole, bit for bit', () => {
    const deployed = new DeployWeights(fusion, weights);
    const seen = new Set<string>();
    for (const piece of pieces(fusion)) {
      for (const key of weightShapesByKey(piece.deploy).keys()) {
        const fused = deployed.of(piece);
        expect(toFloat64(fused.unrounded.get(key)!)).toEqual(toFloat64(unrounded.get(key)!));
        expect(fused.stored.get(key)).toEqual(rounded.get(key));
        seen.add(key);
      }
    }
    expect([...seen].sort()).toEqual([...unrounded.keys()].sort());
    expect(deployed.whole).toEqual({ unrounded, stored: rounded });
    expect(deployed.areGiven).toBe(false);
  });

  test('stored ones that are given stay as they are', () => {
    const given = new Map([...rounded].map(([key, { shape, data }]) => [key, { shape, data: data.map((w) => 2 * w) }]));
    const deployed = new DeployWeights(fusion, weights, given);
    expect(deployed.areGiven).toBe(true);
    expect(deployed.whole.stored).toBe(given);
    for (const piece of pieces(fusion)) {
      const { stored, unrounded: own } = deployed.of(piece);
      expect(stored).toBe(given);
      for (const key of weightShapesByKey(piece.deploy).keys()) {
        expect(toFloat64(own.get(key)!)).toEqual(toFloat64(unrounded.get(key)!));
      }
    }
  });
});
