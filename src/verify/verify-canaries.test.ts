import { expect, test, vi } from 'vitest';
import { fuse } from '../fused/fuse.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { verify } from './verify.ts';

vi.mock('./canaries.ts', () => ({ runCanaries: () => ({ checked: 9, survivors: ['NaN against NaN', 'a swap'] }) }));

test('a check that lets canaries pass is inconclusive, whatever it finds', async () => {
  const builder = new NetworkBuilder('tiny');
  const fusion = fuse(builder.build(builder.add('act', { kind: 'relu' }, [builder.input('input', [1, 2])])));
  const input = { shape: [1, 2], data: Float32Array.of(1, -1) };
  const probe = () => input;
  const result = await verify({ fusion, weights: new Map(), input, engines: [], probe, tiers: ['structure'] });
  expect(result.verdict).toBe('inconclusive');
  expect(result.tiers.map(({ tier, verdict, compared }) => [tier, verdict, compared])).toEqual([
    ['canaries', 'inconclusive', 9],
    ['structure', 'pass', 4],
  ]);
  expect(result.problems).toEqual([
    'the comparison let the canary "NaN against NaN" pass',
    'the comparison let the canary "a swap" pass',
  ]);
});
