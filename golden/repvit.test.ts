/**
 * Our RepViT against timm's in PyTorch float64, layer by layer, and its fused keys (see docs/goldens.md). Logits and stages
 * are in check.test.ts.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { fuse } from '../src/fused/fuse.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import { randomWeights } from '../src/weights/random.ts';
import {
  disagreement,
  FLOAT64_AGREEMENT,
  goldenNamed,
  inputOf,
  namesWith,
  networkOf,
  pathOf,
  readGolden,
} from './goldens.ts';

it('tiny_non_square: the output of every conv, batch norm and linear', async () => {
  const golden = goldenNamed('tiny_non_square');
  const network = networkOf(golden);
  const taps = await readGolden('fixtures/tiny_non_square.taps.safetensors');
  const weights = randomWeights(network, golden.seed!);
  const inputs = new Map([['input', inputOf(network, golden.seed)]]);
  const values = await evaluateFloat64(network, weights, inputs, { keep: 'all' });
  const tapped = network.nodes.filter(({ weights }) => Object.keys(weights).length > 0).map(({ name }) => name);
  expect(tapped.sort()).toEqual([...taps.keys()].sort());
  for (const [tap, expected] of taps) {
    expect(disagreement(values.get(tap), expected).relative, tap).toBeLessThan(FLOAT64_AGREEMENT);
  }
});

describe("the deploy form's keys and shapes are those of timm's fused state_dict", () => {
  const names = namesWith('.fused-keys', 'repvit');
  it('for a current, a legacy and a network with one head', () => expect(names).toHaveLength(3));
  it.each(names)('%s', async (name) => {
    const expected = (await readFile(pathOf(`fixtures/${name}.fused-keys.txt`), 'utf8')).trim().split('\n').sort();
    const { network } = fuse(networkOf(goldenNamed(name)));
    const actual = [...weightShapesByKey(network)].map(([key, shape]) => [key, ...shape].join(' ')).sort();
    expect(actual).toEqual(expected);
  });
});
