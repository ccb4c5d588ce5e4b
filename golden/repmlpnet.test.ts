/**
 * Our RepMLPNet against the original in PyTorch float64, layer by layer, its injected weights and keys (see
 * docs/goldens.md). Logits and stages are in check.test.ts.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import { type Fusion, fuseWeights } from '../src/fused/fuse.ts';
import type { Golden } from '../src/golden/manifest.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { nodesByName, weightShapesByKey } from '../src/network/graph.ts';
import { isKind, type Network } from '../src/network/ops.ts';
import { elements, type Tensor, type Weights } from '../src/network/tensor.ts';
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

/**
 * Largest |ours - PyTorch's| of an injected weight or bias, over the largest |PyTorch's|. Each is a sum of at most 5
 * branches' terms, each term rounded 4 times and added once, on both sides, at u = 2^-53; a sum may be 10 times smaller
 * than its terms: 2 * 5 * 5 * 10 * 1.1e-16.
 */
const INJECTED_AGREEMENT = 6e-14;

function deployNetwork(network: Network, name: string): Fusion {
  const form = deployForms(network).find((form) => form.name === name);
  if (form === undefined) throw new Error(`${network.name} has no form ${name}`);
  return fuseTo(form, network);
}

/** A deploy form and its weights, not rounded. */
async function deployForm(golden: Golden, name: string): Promise<{ network: Network; weights: Weights }> {
  const network = networkOf(golden);
  const fusion = deployNetwork(network, name);
  return { network: fusion.network, weights: fuseWeights(fusion, randomWeights(network, golden.seed!)) };
}

describe('tiny_rectangles, layer by layer', () => {
  const TAPPED = 'repmlpnet_tiny_rectangles';

  /** Every value of the network under the original's module paths and in its shapes. */
  async function valuesByModule(network: Network, weights: Weights, seed: number | undefined) {
    const inputs = new Map([['input', inputOf(network, seed)]]);
    const values = await evaluateFloat64(network, weights, inputs, { keep: 'all' });
    const nodes = nodesByName(network);
    return new Map(
      [...values].map(([name, { shape, data }]): [string, Tensor] => {
        const [r = 0, ...window] = shape;
        // The original's fc3 is a 1x1 convolution on windows laid out as channels.
        if (isKind(nodes.get(name), 'setLinear')) return [name, { shape: [r, elements(window), 1, 1], data }];
        return [name.replace(/\.repmlp_block\.mul$/, '.repmlp_block'), { shape, data }];
      }),
    );
  }

  /** Paths of the modules that the taps cover: layers with weights, and blocks. */
  function tapped(network: Network): string[] {
    const layers = network.nodes.filter(({ weights }) => Object.keys(weights).length > 0).map(({ name }) => name);
    const blocks = network.nodes.filter(({ op }) => op.kind === 'mul').map(({ name }) => name.replace(/\.mul$/, ''));
    return [...layers, ...blocks].sort();
  }

  it('train form: every conv, batch norm, linear and RepMLPBlock', async () => {
    const golden = goldenNamed(TAPPED);
    const network = networkOf(golden);
    const taps = await readGolden(`fixtures/${TAPPED}.taps.safetensors`);
    const values = await valuesByModule(network, randomWeights(network, golden.seed!), golden.seed);
    expect(tapped(network)).toEqual([...taps.keys()].sort());
    for (const [tap, expected] of taps) {
      expect(disagreement(values.get(tap), expected).relative, tap).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });

  it('deploy-official form: every conv, batch norm, linear and RepMLPBlock', async () => {
    const golden = goldenNamed(TAPPED);
    const { network, weights } = await deployForm(golden, 'deploy-official');
    const taps = await readGolden(`fixtures/${TAPPED}.deploy-taps.safetensors`);
    const values = await valuesByModule(network, weights, golden.seed);
    expect(tapped(network)).toEqual([...taps.keys()].sort());
    for (const [tap, expected] of taps) {
      expect(disagreement(values.get(tap), expected).relative, tap).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });

  it('deploy form: every RepMLPBlock', async () => {
    const golden = goldenNamed(TAPPED);
    const { network, weights } = await deployForm(golden, 'deploy');
    const taps = await readGolden(`fixtures/${TAPPED}.deploy-taps.safetensors`);
    const values = await valuesByModule(network, weights, golden.seed);
    const blocks = [...taps.keys()].filter((tap) => tap.endsWith('.repmlp_block'));
    // One unit in each of three stages.
    expect(blocks).toHaveLength(3);
    for (const block of blocks) {
      expect(disagreement(values.get(block), taps.get(block)).relative, block).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });
});

describe('fc3 after locality injection, element by element', () => {
  const injected = namesWith('.fc3', 'repmlpnet');
  it('of two networks', () => expect(injected).toHaveLength(2));
  for (const name of injected) {
    it.each(['deploy-official', 'deploy'])(`${name}: %s`, async (form) => {
      const expected = await readGolden(`fixtures/${name}.fc3.safetensors`);
      const { weights } = await deployForm(goldenNamed(name), form);
      expect([...weights.keys()].filter((key) => /\.fc3\.(weight|bias)$/.test(key)).sort()).toEqual(
        [...expected.keys()].sort(),
      );
      for (const [key, tensor] of expected) {
        expect(disagreement(weights.get(key), tensor).relative, key).toBeLessThan(INJECTED_AGREEMENT);
      }
    });
  }
});

describe("the deploy-official form's keys and shapes are those of the original's injected state_dict", () => {
  const names = namesWith('.fused-keys', 'repmlpnet');
  it('of a published network', () => expect(names).toEqual(['repmlpnet_t224']));
  it.each(names)('%s', async (name) => {
    const expected = (await readFile(pathOf(`fixtures/${name}.fused-keys.txt`), 'utf8')).trim().split('\n').sort();
    const { network } = deployNetwork(networkOf(goldenNamed(name)), 'deploy-official');
    const actual = [...weightShapesByKey(network)].map(([key, shape]) => [key, ...shape].join(' ')).sort();
    expect(actual).toEqual(expected);
  });
});
