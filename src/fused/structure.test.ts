import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Node } from '../network/ops.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { type DeployForm, deployForms, fuseTo } from './forms.ts';
import { type Fusion, fuse, rules } from './fuse.ts';
import { checkStructure } from './structure.ts';

function repvit(legacy = false): Network {
  const config = completeRepVitConfig({ legacy, embed_dim: [8, 16], depth: [2, 1], num_classes: 5 });
  return buildRepVit(config, { batch: 1, height: 20, width: 14 });
}

const MIXER = 'stages.0.blocks.0.token_mixer';

const without = (name: string) => rules.filter((rule) => rule.name !== name);

/** The fusion with another deploy network. */
function withNodes(fusion: Fusion, nodes: readonly Node[]): Fusion {
  return { ...fusion, network: { ...fusion.network, nodes } };
}

describe('checkStructure', () => {
  test.each([false, true])('finds nothing left in a fused RepViT, legacy %s', (legacy) => {
    const fusion = fuse(repvit(legacy));
    const keys = fusion.network.nodes.flatMap(({ weights }) => Object.values(weights));
    expect(checkStructure(fusion)).toEqual({
      problems: [],
      unlike: [],
      checked: fusion.reference.nodes.length + fusion.network.nodes.length + keys.length,
    });
  });

  test('names every batch norm where nothing was fused', () => {
    const network = repvit();
    const { problems } = checkStructure(fuse(network, []));
    const norms = network.nodes.filter(({ op }) => op.kind === 'batchNorm').map(({ name }) => name);
    expect(norms.length).toBeGreaterThan(10);
    expect(problems.filter((problem) => problem.endsWith('is a batch norm that was not folded'))).toHaveLength(
      norms.length,
    );
    expect(problems).toContain(`${MIXER}.add still sums parallel affine branches`);
  });

  test.each<[string, string]>([
    ['conv-batch-norm', 'stem.conv1.bn is a batch norm that was not folded'],
    ['repvggdw', `${MIXER}.add still sums parallel affine branches`],
    ['batch-norm-linear', 'head.head.bn is a batch norm that was not folded'],
    ['average-heads', 'head.add still sums parallel affine branches'],
  ])('sees that %s was left out', (rule, problem) => {
    expect(checkStructure(fuse(repvit(true), without(rule))).problems).toContain(problem);
  });

  test('the residual around a non-linear FFN is no parallel branch', () => {
    const { network } = fuse(repvit());
    expect(network.nodes.filter(({ op }) => op.kind === 'add').map(({ name }) => name)).toContain(
      'stages.0.blocks.0.add',
    );
  });

  test('sees a reference node that is consumed twice or never', () => {
    const fusion = fuse(repvit());
    const [first, ...rest] = fusion.regions;
    expect(checkStructure({ ...fusion, regions: [first!, first!, ...rest] }).problems).toEqual(
      first!.reference.map((name) => `${name} is consumed 2 times, not once`),
    );
    const shorter = { ...first!, reference: first!.reference.slice(1) };
    expect(checkStructure({ ...fusion, regions: [shorter, ...rest] }).problems).toEqual([
      `${first!.reference[0]} is consumed 0 times, not once`,
      `${first!.deploy} reads input, where the reference reads ${first!.reference[0]}`,
    ]);
  });

  test('sees a kept node that is gone', () => {
    const fusion = fuse(repvit());
    const nodes = fusion.network.nodes.filter(({ name }) => name !== 'stem.act1');
    expect(checkStructure(withNodes(fusion, nodes)).problems).toEqual(['stem.act1 is consumed 0 times, not once']);
  });

  test('sees a node that reads another value than the reference does', () => {
    const fusion = fuse(repvit());
    const nodes = fusion.network.nodes.map((node) =>
      node.name === 'stem.conv2' ? ({ ...node, inputs: ['stem.conv1'] } as Node) : node,
    );
    const wrong = ['stem.conv2 reads stem.conv1.bn, where the reference reads stem.act1'];
    expect(checkStructure(withNodes(fusion, nodes))).toMatchObject({ problems: wrong, unlike: wrong });
  });

  test('sees another output', () => {
    const fusion = fuse(repvit());
    const network = { ...fusion.network, output: 'stem.conv1' };
    expect(checkStructure({ ...fusion, network }).unlike).toEqual(['the forms have not the same output']);
  });

  test('sees a key that two nodes hold', () => {
    const fusion = fuse(repvit());
    const nodes = fusion.network.nodes.map((node): Node => {
      if (node.name !== 'stem.conv2' || node.op.kind !== 'conv2d') return node;
      return { ...node, op: node.op, weights: { ...node.weights, weight: 'stem.conv1.weight' } };
    });
    expect(checkStructure(withNodes(fusion, nodes)).problems).toEqual([
      'stem.conv1.weight belongs to both stem.conv1 and stem.conv2',
    ]);
  });

  test('sees a deploy form that has grown', () => {
    const fusion = fuse(repvit());
    const more = Array.from(
      { length: fusion.reference.nodes.length },
      (_, i): Node => ({ name: `more.${i}`, op: { kind: 'relu' }, inputs: ['input'], weights: {}, shape: [1] }),
    );
    const { problems } = checkStructure(withNodes(fusion, [...fusion.network.nodes, ...more]));
    const [deploy, reference] = [fusion.network.nodes.length + more.length, fusion.reference.nodes.length];
    expect(problems).toContain(`the deploy form has ${deploy} nodes, more than the reference's ${reference}`);
  });
});

function repmlpnet(): Network {
  const config = completeRepMlpNetConfig({
    channels: [4],
    hs: [3],
    ws: [2],
    num_blocks: [1],
    sharesets_nums: [2],
    reparam_conv_k: [1, 3],
  });
  return buildRepMlpNet(config, { batch: 1, height: 12, width: 16 });
}

describe.each(deployForms(repmlpnet()))('RepMLPNet, $name', (form: DeployForm) => {
  const fused = (...left: readonly string[]) =>
    fuseTo({ ...form, rules: form.rules.filter(({ name }) => !left.includes(name)) }, repmlpnet());

  test('has nothing left, and counts all that it looks at', () => {
    const fusion = fused();
    const keys = fusion.network.nodes.flatMap(({ weights }) => Object.values(weights));
    expect(checkStructure(fusion)).toEqual({
      problems: [],
      unlike: [],
      checked: fusion.reference.nodes.length + fusion.network.nodes.length + keys.length,
    });
  });

  const block = 'stages.0.0.repmlp_block';
  const expected: readonly (readonly [left: string, form: DeployForm['name'] | 'both', problem: string])[] = [
    ['set-linear-batch-norm', 'both', `${block}.fc3_bn is a batch norm that was not folded`],
    ['locality-injection', 'both', `${block}.add still sums parallel affine branches`],
    ['conv-batch-norm', 'deploy', 'conv_embedding.bn is a batch norm that was not folded'],
    ['batch-norm-conv', 'deploy', 'stages.0.0.prebn2 is a batch norm that was not folded'],
    ['batch-norm-pool', 'deploy', 'head_norm is a batch norm that was not folded'],
    ['window-linear', 'deploy', 'stages.0.0.prebn1 is a batch norm that was not folded'],
    ['batch-norm-window-linear', 'deploy', 'stages.0.0.prebn1 is a batch norm that was not folded'],
  ];
  test.each(expected.filter(([, of]) => of === 'both' || of === form.name))(
    'sees that %s was left out',
    (left, _form, problem) => {
      expect(checkStructure(fused(left)).problems).toContain(problem);
    },
  );

  test('keeps the batch norms that are its own, and no other', () => {
    const fusion = fused();
    const norms = fusion.network.nodes.filter(({ op }) => op.kind === 'batchNorm').map(({ name }) => name);
    expect(norms.length).toBe(form.name === 'deploy' ? 0 : 6);
    expect(checkStructure({ ...fusion, keeps: () => false }).problems).toEqual(
      norms.map((name) => `${name} is a batch norm that was not folded`),
    );
  });
});

test('a layer over windows beside one convolution of them is a parallel branch', () => {
  const builder = new NetworkBuilder('parallel');
  const x = builder.input('input', [4, 2, 3, 5]);
  const fixed = { kind: 'conv2d', stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 2, bias: true } as const;
  const branches = [
    builder.add('fc3', { kind: 'setLinear', bias: true }, [x]),
    builder.add('conv', { ...fixed, kernel: [3, 3], outChannels: 2 }, [x]),
  ];
  const network = builder.build(builder.add('add', { kind: 'add' }, branches));
  expect(checkStructure(fuse(network, [])).problems).toEqual(['add still sums parallel affine branches']);
});
