/**
 * Our networks against someone else's code: the original RepMLPNet in PyTorch float64 (see oracle/README.md).
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import { type Fusion, fuseWeights } from '../src/fused/fuse.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { nodesByName, weightShapesByKey } from '../src/network/graph.ts';
import { isKind, type Network } from '../src/network/ops.ts';
import { elements, formatShape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { buildNetwork, parseConfig } from '../src/reference/config.ts';
import { checkWeights } from '../src/weights/check.ts';
import { randomWeights } from '../src/weights/random.ts';
import { disagreement, FLOAT64_AGREEMENT, inputOf, logitsOf, pathOf, readExample, readGolden } from './goldens.ts';
import manifest from './manifest.json' with { type: 'json' };

const { cases, others } = manifest.repmlpnet;

type Case = (typeof cases)[number];

/**
 * Largest |ours - PyTorch's| of an injected weight or bias, over the largest |PyTorch's|. Each is a sum of at most 5
 * branches' terms, each term rounded 4 times and added once, on both sides, at u = 2^-53; a sum may be 10 times smaller
 * than its terms: 2 * 5 * 5 * 10 * 1.1e-16.
 */
const INJECTED_AGREEMENT = 6e-14;

/** Logits of the train form against the train golden's, and of each deploy form against both: five comparisons. */
const COMPARISONS = 5;

/** Compares every form's logits with the golden's; returns the number of elements compared. */
async function compareForms(network: Network, weights: Weights, input: Tensor, golden: Weights): Promise<number> {
  checkWeights(network, weights, 'weights');
  const train = disagreement(await logitsOf(network, weights, input), golden.get('train'));
  expect(train.relative, 'train form').toBeLessThan(FLOAT64_AGREEMENT);
  let compared = train.compared;
  for (const form of deployForms(network)) {
    const fusion = fuseTo(form, network);
    const logits = await logitsOf(fusion.network, fuseWeights(fusion, weights), input);
    for (const theirs of ['train', 'deploy']) {
      const deploy = disagreement(logits, golden.get(theirs));
      expect(deploy.relative, `${form.name} against their ${theirs} form`).toBeLessThan(FLOAT64_AGREEMENT);
      compared += deploy.compared;
    }
  }
  return compared;
}

async function build({ name, config, input }: Case): Promise<Network> {
  return buildNetwork(await parseConfig(config, name), input, name);
}

function caseNamed(name: string): Case {
  const found = cases.find((golden) => golden.name === name);
  if (found === undefined) throw new Error(`no golden is named ${name}`);
  return found;
}

function deployNetwork(network: Network, name: string): Fusion {
  const form = deployForms(network).find((form) => form.name === name);
  if (form === undefined) throw new Error(`${network.name} has no form ${name}`);
  return fuseTo(form, network);
}

/** A deploy form and its weights, not rounded. */
async function deployForm(golden: Case, name: string): Promise<{ network: Network; weights: Weights }> {
  const network = await build(golden);
  const fusion = deployNetwork(network, name);
  return { network: fusion.network, weights: fuseWeights(fusion, randomWeights(network, golden.seed)) };
}

describe('RepMLPNet against the original in float64', () => {
  for (const golden of cases) {
    const { name, file, seed, config, input } = golden;
    const logits = COMPARISONS * input.batch * config.num_class;
    const title = `${name} at ${formatShape([input.batch, config.in_channels, input.height, input.width])}: ${logits} logits`;
    it(title, async () => {
      const network = await build(golden);
      const weights = randomWeights(network, seed);
      const compared = await compareForms(network, weights, inputOf(network, seed), await readGolden(file));
      expect(compared).toBe(logits);
    });
  }

  it('example checkpoint repmlpnet: 50 logits', async () => {
    const { network, weights, input, golden } = await readExample('repmlpnet');
    expect(await compareForms(network, weights, input, golden)).toBe(COMPARISONS * 2 * 5);
  });
});

describe('tiny_rectangles, layer by layer', () => {
  const TAPPED = 'repmlpnet_tiny_rectangles';

  /** Every value of the network under the original's module paths and in its shapes. */
  async function valuesByModule(network: Network, weights: Weights, seed: number) {
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
    const golden = caseNamed(TAPPED);
    const network = await build(golden);
    const taps = await readGolden(`fixtures/${TAPPED}.taps.safetensors`);
    const values = await valuesByModule(network, randomWeights(network, golden.seed), golden.seed);
    expect(tapped(network)).toEqual([...taps.keys()].sort());
    for (const [tap, expected] of taps) {
      expect(disagreement(values.get(tap), expected).relative, tap).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });

  it('deploy-official form: every conv, batch norm, linear and RepMLPBlock', async () => {
    const golden = caseNamed(TAPPED);
    const { network, weights } = await deployForm(golden, 'deploy-official');
    const taps = await readGolden(`fixtures/${TAPPED}.deploy-taps.safetensors`);
    const values = await valuesByModule(network, weights, golden.seed);
    expect(tapped(network)).toEqual([...taps.keys()].sort());
    for (const [tap, expected] of taps) {
      expect(disagreement(values.get(tap), expected).relative, tap).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });

  it('deploy form: every RepMLPBlock', async () => {
    const golden = caseNamed(TAPPED);
    const { network, weights } = await deployForm(golden, 'deploy');
    const taps = await readGolden(`fixtures/${TAPPED}.deploy-taps.safetensors`);
    const values = await valuesByModule(network, weights, golden.seed);
    const blocks = [...taps.keys()].filter((tap) => tap.endsWith('.repmlp_block'));
    expect(blocks).toHaveLength(golden.config.num_blocks.reduce((sum, blocks) => sum + blocks));
    for (const block of blocks) {
      expect(disagreement(values.get(block), taps.get(block)).relative, block).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });
});

describe('fc3 after locality injection, element by element', () => {
  const injected = others.flatMap(({ file, name }) => (file.endsWith('.fc3.safetensors') ? [{ file, name }] : []));
  for (const { file, name = '' } of injected) {
    it.each(['deploy-official', 'deploy'])(`${name}: %s`, async (form) => {
      const expected = await readGolden(file);
      const { weights } = await deployForm(caseNamed(name), form);
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
  const lists = others.flatMap(({ file, name }) => (file.endsWith('.fused-keys.txt') ? [{ file, name }] : []));
  it.each(lists)('$file', async ({ file, name = '' }) => {
    const expected = (await readFile(pathOf(file), 'utf8')).trim().split('\n').sort();
    const { network } = deployNetwork(await build(caseNamed(name)), 'deploy-official');
    const actual = [...weightShapesByKey(network)].map(([key, shape]) => [key, ...shape].join(' ')).sort();
    expect(actual).toEqual(expected);
  });
});
