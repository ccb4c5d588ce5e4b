import { describe, expect, test } from 'vitest';
import { roundingsField } from '../fused/field.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse, fuseIn } from '../fused/fuse.ts';
import { keyOf, type Rule } from '../fused/rule.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { isKind } from '../network/ops.ts';
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

/** Two depthwise 1x1 convolutions and the sum of both, whether the second reads the first or what the first reads. */
const sumOfTwo: Rule = {
  name: 'sum-of-two',
  match(last, graph) {
    if (!isKind(last, 'add')) return undefined;
    const [first, second] = last.inputs.map((name) => graph.node(name));
    if (!isKind(first, 'conv2d') || !isKind(second, 'conv2d')) return undefined;
    const isChain = second.inputs[0] === first.name;
    return {
      replaced: [first, second, last],
      carrier: last,
      op: first.op,
      inputs: first.inputs,
      weights: (field, source) => {
        const [a, b] = [source.read(keyOf(first, 'weight')), source.read(keyOf(second, 'weight'))];
        const weight = field.array(a.length);
        for (let i = 0; i < a.length; i++) weight[i] = field.add(a[i]!, isChain ? field.mul(a[i]!, b[i]!) : b[i]!);
        return { weight };
      },
    };
  },
};

describe('roundings on the way to a deploy weight', () => {
  test('are counted for each way in which the same nodes read each other', () => {
    const pixel = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1] } as const;
    const op = { kind: 'conv2d', outChannels: 2, groups: 2, bias: false, ...pixel } as const;
    const builder = new NetworkBuilder('two-sums');
    const x = builder.input('input', [1, 2, 4, 4]);
    const beside = builder.add('p.sum', { kind: 'add' }, [builder.add('p.a', op, [x]), builder.add('p.b', op, [x])]);
    const first = builder.add('q.a', op, [beside]);
    const behind = builder.add('q.sum', { kind: 'add' }, [first, builder.add('q.b', op, [first])]);
    const fusion = fuse(builder.build(behind), [sumOfTwo]);
    // a + b has one; a + a * b has two.
    expect([...roundingsOf(fusion)]).toEqual([
      ['input', 0],
      ['p', 1],
      ['q', 2],
    ]);
  });

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
