import { describe, expect, test } from 'vitest';
import type { Model } from '../reference/config.ts';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { measureDraws, measureNetwork, timedTiers } from './harness-measure.ts';

const repVit: Model = {
  name: 'tiny',
  config: completeRepVitConfig({ embed_dim: [8, 16], depth: [1, 1], num_classes: 5 }),
  resolution: 32,
};
const repMlpNet: Model = {
  name: 'tiny-mlp',
  config: completeRepMlpNetConfig({
    channels: [8, 16],
    hs: [4, 2],
    ws: [4, 2],
    num_blocks: [1, 1],
    sharesets_nums: [2, 4],
    reparam_conv_k: [1, 3],
    num_class: 5,
  }),
  resolution: 32,
};

describe('measureNetwork', () => {
  test.each([repVit, repMlpNet])('times each tier of $name that needs no engine', async (model) => {
    const figures = await measureNetwork(model, [], 1);
    expect(Object.keys(figures.tierSeconds)).toEqual(['structure', 'exact', 'basis', 'weights', 'algebra']);
    expect(Object.keys(figures.tierSeconds)).toEqual(timedTiers([]));
    const { oracleGflops, generateSeconds, fuseSeconds, tierSeconds } = figures;
    const seconds = [oracleGflops, generateSeconds, fuseSeconds, tierSeconds.exact, tierSeconds.algebra];
    expect(seconds.filter((value) => !(value! > 0))).toEqual([]);
  });
});

describe('measureDraws', () => {
  test('draws until the time is over, and counts the regions of all', async () => {
    const one = await measureDraws(repVit, 1e-9);
    expect(one.draws).toBe(1);
    const several = await measureDraws(repVit, 0.3);
    expect(several.seconds).toBeGreaterThanOrEqual(0.3);
    expect(several.regions).toBe(several.draws * one.regions);
    expect(one.regions).toBeGreaterThan(5);
  });
});
