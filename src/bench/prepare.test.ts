import { describe, expect, test } from 'vitest';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { pairsOf, prepareForm, prepareModel, preparePair } from './prepare.ts';

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
  test('is the deploy form against the train form', () => {
    expect(pairsOf(prepareModel(repvit).deployForms)).toEqual([{ baseline: 'reference', arm: 'deploy' }]);
  });

  test("and against the original's deploy form, where there is one", () => {
    expect(pairsOf(prepareModel(repmlpnet).deployForms)).toEqual([
      { baseline: 'reference', arm: 'deploy' },
      { baseline: 'deploy-official', arm: 'deploy' },
    ]);
  });
});

describe('preparePair', () => {
  test('builds the forms that it is asked for', () => {
    const { forms } = preparePair(repmlpnet, { baseline: 'deploy-official', arm: 'deploy' });
    const kinds = (['baseline', 'arm'] as const).map(
      (role) => new Set(forms[role].network.nodes.map(({ op }) => op.kind)),
    );
    expect(kinds.map((has) => [has.has('batchNorm'), has.has('setLinear'), has.has('windowLinear')])).toEqual([
      [true, true, false],
      [false, false, true],
    ]);
  });

  test('gives every form the weights of its own network', () => {
    const { forms } = preparePair(repmlpnet, { baseline: 'reference', arm: 'deploy-official' });
    for (const { network, weights } of [forms.baseline, forms.arm]) {
      const keys = network.nodes.flatMap((node) => Object.values(node.weights));
      expect(new Set(weights.keys())).toEqual(new Set(keys));
    }
  });
});

test('a form that a network does not have is an error', () => {
  expect(() => prepareForm(prepareModel(repvit), 'deploy-official')).toThrow('tiny has no deploy-official form');
});
