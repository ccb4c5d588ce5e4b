import { describe, expect, test } from 'vitest';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { armsOf, isNull, pairsOf, prepareArms, prepareForm, prepareModel } from './prepare.ts';

const repvit = {
  model: {
    name: 'tiny',
    config: completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 4 }),
    resolution: 16,
  },
  size: { batch: 1, height: 16, width: 16 },
  seed: 1,
};
const repmlpnet = {
  ...repvit,
  model: {
    name: 'mlp',
    config: completeRepMlpNetConfig({ num_blocks: [1], channels: [8], hs: [4], ws: [4], sharesets_nums: [2] }),
    resolution: 16,
  },
};

describe('pairsOf', () => {
  const described = (...args: Parameters<typeof pairsOf>) =>
    pairsOf(...args).map(({ baseline, arm }) => `${arm} against ${baseline}`);

  test('is the deploy form against the train form and against itself', () => {
    const { deployForms } = prepareModel(repvit);
    expect(described(deployForms, false)).toEqual(['deploy against reference', 'deploy against deploy']);
    expect(pairsOf(deployForms, false).map(isNull)).toEqual([false, true]);
  });

  test("and against the raw train form and the original's deploy form, where there are such", () => {
    const pairs = pairsOf(prepareModel(repmlpnet).deployForms, true);
    expect(pairs.map(({ baseline }) => baseline)).toEqual(['reference-raw', 'reference', 'deploy-official', 'deploy']);
    expect(armsOf(pairs)).toEqual(['reference-raw', 'reference', 'deploy-official', 'deploy']);
  });
});

describe('prepareArms', () => {
  test('builds the forms that it is asked for', () => {
    const { forms } = prepareArms(repmlpnet, ['reference-raw', 'deploy-official', 'deploy']);
    const kinds = [...forms.values()].map(({ network }) => new Set(network.nodes.map(({ op }) => op.kind)));
    expect(kinds.map((has) => [has.has('batchNorm'), has.has('setLinear'), has.has('windowLinear')])).toEqual([
      [true, true, false],
      [true, true, false],
      [false, false, true],
    ]);
  });

  test('gives every form the weights of its own network', () => {
    for (const { network, weights } of prepareArms(repmlpnet, ['reference', 'deploy-official']).forms.values()) {
      const keys = network.nodes.flatMap((node) => Object.values(node.weights));
      expect(new Set(weights.keys())).toEqual(new Set(keys));
    }
  });
});

test('a form that a network does not have is an error', () => {
  expect(() => prepareForm(prepareModel(repvit), 'deploy-official')).toThrow('tiny has no deploy-official form');
});
