import { expect, test } from 'vitest';
import { fuse } from '../fused/fuse.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { isFused, pieces } from './pieces.ts';

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
