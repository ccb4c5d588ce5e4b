import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { fuse, rules } from '../fused/fuse.ts';
import type { Network } from '../network/ops.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { isFused, pieces } from './pieces.ts';

const computed = (network: Network): string[] =>
  network.nodes.filter(({ op }) => op.kind !== 'input').map(({ name }) => name);

const forms = [true, false].flatMap((legacy) => [true, false].map((distillation) => ({ legacy, distillation })));

describe.each(forms)('pieces of RepViT, legacy $legacy, two heads $distillation', (form) => {
  const config = completeRepVitConfig({ ...form, embed_dim: [8, 16], depth: [2, 1], num_classes: 5 });
  const fusion = fuse(buildRepVit(config, { batch: 1, height: 20, width: 14 }));
  const all = pieces(fusion);

  test('every node of both networks is in exactly one', () => {
    const inPieces = all.flatMap(({ reference }) => computed(reference));
    expect(inPieces.toSorted()).toEqual(computed(fusion.reference).toSorted());
    expect(all.flatMap(({ deploy }) => computed(deploy))).toEqual(computed(fusion.network));
    expect(all.length).toBeGreaterThan(20);
  });

  test('each stands where the values that it reads are there already', () => {
    const known = new Set(['input']);
    for (const { reference, inputs } of all) {
      expect(reference.inputs.filter((name) => !known.has(name))).toEqual([]);
      expect([...inputs.values()].toSorted()).toEqual(reference.inputs.toSorted());
      known.add(reference.output);
    }
    expect(known.has(fusion.reference.output)).toBe(true);
  });

  test('both forms read and compute tensors of one shape', () => {
    const shapeOf = (network: Network, name: string) => network.nodes.find((node) => node.name === name)?.shape;
    for (const { name, deploy, reference, inputs } of all) {
      expect(deploy).toMatchObject({ output: name });
      expect(shapeOf(deploy, name)).toEqual(shapeOf(reference, reference.output));
      for (const [input, source] of inputs) expect(shapeOf(deploy, input)).toEqual(shapeOf(reference, source));
    }
  });

  test('those that a rule made are fused, the others are the same node in both forms', () => {
    expect(all.filter(isFused).map(({ name }) => name)).toEqual(fusion.regions.map(({ deploy }) => deploy));
    for (const piece of all.filter((one) => !isFused(one))) {
      expect(computed(piece.reference)).toEqual([piece.name]);
    }
  });
});

describe.each(deployForms(repmlpnet()))('pieces of RepMLPNet, $name', (form) => {
  const fusion = fuseTo(form, repmlpnet());
  const all = pieces(fusion);
  const shared = new Set(fusion.regions.flatMap((region) => region.shared));

  test('every node of both networks is in exactly one, but for shared batch norms', () => {
    const inPieces = all.flatMap(({ reference }) => computed(reference));
    const own = inPieces.filter((name) => !shared.has(name));
    expect([...own, ...shared].toSorted()).toEqual(computed(fusion.reference).toSorted());
    expect(all.flatMap(({ deploy }) => computed(deploy))).toEqual(computed(fusion.network));
    expect(shared.size).toBe(form.name === 'deploy' ? 2 * 2 + 1 : 0);
  });

  test('each stands where the values that it reads are there already', () => {
    const known = new Set(['input']);
    for (const { reference, inputs } of all) {
      expect(reference.inputs.filter((name) => !known.has(name))).toEqual([]);
      expect([...inputs.values()].toSorted()).toEqual(reference.inputs.toSorted());
      known.add(reference.output);
    }
    expect(known.has(fusion.reference.output)).toBe(true);
  });

  test('a pool that reads what was before its batch norm belongs to the layer behind it', () => {
    const head = all.find(({ name }) => name === 'head');
    if (form.name === 'deploy') {
      expect(computed(head!.deploy)).toEqual(['global_pool', 'head']);
      expect(computed(head!.reference)).toEqual(['head_norm', 'global_pool', 'head']);
      expect([...head!.inputs]).toEqual([['stages.1.0.add2', 'stages.1.0.add2']]);
    } else {
      expect(computed(head!.deploy)).toEqual(['head']);
    }
  });
});

function repmlpnet(): Network {
  const config = completeRepMlpNetConfig({
    channels: [4, 6],
    hs: [6, 1],
    ws: [8, 2],
    num_blocks: [1, 1],
    sharesets_nums: [2, 3],
    reparam_conv_k: [1, 3],
  });
  return buildRepMlpNet(config, { batch: 2, height: 24, width: 32 });
}

test('without a rule every node is a piece of its own', () => {
  const network = buildRepVit(completeRepVitConfig({ embed_dim: [8] }), { batch: 1, height: 16, width: 16 });
  expect(rules.length).toBeGreaterThan(0);
  const all = pieces(fuse(network, []));
  expect(all.map(({ name }) => name)).toEqual(computed(network));
  expect(all.filter(isFused)).toEqual([]);
});

test('a piece of one node reads what the node reads, under the names of both forms', () => {
  const config = completeRepVitConfig({ embed_dim: [8], num_classes: 5 });
  const fusion = fuse(buildRepVit(config, { batch: 1, height: 16, width: 16 }));
  const all = pieces(fusion);
  expect(all.length).toBeGreaterThan(10);
  for (const { name, deploy, inputs } of all) {
    const node = fusion.network.nodes.find((candidate) => candidate.name === name)!;
    expect(deploy.nodes.at(-1)).toEqual(node);
    expect([...inputs]).toEqual([...new Set(node.inputs)].map((input) => [input, fusion.sameValue.get(input)]));
  }
  const [first, second] = all;
  expect(first).toMatchObject({ name: 'stem.conv1', rules: ['conv-batch-norm'] });
  expect(isFused(first!)).toBe(true);
  expect(second).toMatchObject({ name: 'stem.act1', rules: [] });
  expect([...second!.inputs]).toEqual([['stem.conv1', 'stem.conv1.bn']]);
});
