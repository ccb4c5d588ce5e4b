/**
 * Our networks against someone else's code: timm's RepVit in PyTorch float64 (see oracle/README.md).
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { fuse, fuseWeights } from '../src/fused/fuse.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import type { Network } from '../src/network/ops.ts';
import { formatShape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { buildNetwork, parseConfig } from '../src/reference/config.ts';
import { checkWeights } from '../src/weights/check.ts';
import { randomWeights } from '../src/weights/random.ts';
import { disagreement, FLOAT64_AGREEMENT, inputOf, logitsOf, pathOf, readExample, readGolden } from './goldens.ts';
import manifest from './manifest.json' with { type: 'json' };

const { cases, others } = manifest.repvit;

type Case = (typeof cases)[number];

/** Compares both forms' logits with the golden's; returns the number of elements compared. */
async function compareForms(network: Network, weights: Weights, input: Tensor, golden: Weights): Promise<number> {
  checkWeights(network, weights, 'weights');
  const fusion = fuse(network);
  const train = disagreement(await logitsOf(network, weights, input), golden.get('train'));
  // timm fuses 3 x 3 kernels only: for others its train form is the golden of both our forms.
  const deploy = disagreement(
    await logitsOf(fusion.network, fuseWeights(fusion, weights), input),
    golden.get('deploy') ?? golden.get('train'),
  );
  expect(train.relative, 'train form').toBeLessThan(FLOAT64_AGREEMENT);
  expect(deploy.relative, 'deploy form').toBeLessThan(FLOAT64_AGREEMENT);
  return train.compared + deploy.compared;
}

async function build({ name, config, input }: Pick<Case, 'name' | 'config' | 'input'>): Promise<Network> {
  return buildNetwork(await parseConfig(config, name), input, name);
}

function caseNamed(name: string): Case {
  const found = cases.find((golden) => golden.name === name);
  if (found === undefined) throw new Error(`no golden is named ${name}`);
  return found;
}

describe('RepViT against timm in float64', () => {
  for (const golden of cases) {
    const { name, file, seed, config, input } = golden;
    const elements = 2 * input.batch * config.num_classes;
    const title = `${name} at ${formatShape([input.batch, config.in_chans, input.height, input.width])}: ${elements} logits`;
    it(title, async () => {
      const network = await build(golden);
      const weights = randomWeights(network, seed);
      const compared = await compareForms(network, weights, inputOf(network, seed), await readGolden(file));
      expect(compared).toBe(elements);
    });
  }

  it('tiny_non_square: the output of every conv, batch norm and linear', async () => {
    const { name, seed, config, input } = caseNamed('tiny_non_square');
    const network = await build({ name, config, input });
    const taps = await readGolden('fixtures/tiny_non_square.taps.safetensors');
    const weights = randomWeights(network, seed);
    const inputs = new Map([['input', inputOf(network, seed)]]);
    const values = await evaluateFloat64(network, weights, inputs, { keep: 'all' });
    const tapped = network.nodes.filter(({ weights }) => Object.keys(weights).length > 0).map(({ name }) => name);
    expect(tapped.sort()).toEqual([...taps.keys()].sort());
    for (const [tap, expected] of taps) {
      expect(disagreement(values.get(tap), expected).relative, tap).toBeLessThan(FLOAT64_AGREEMENT);
    }
  });
});

describe('example checkpoints', () => {
  const examples = [
    { name: 'repvit_two_heads', logits: 2 * 2 * 5 },
    { name: 'repvit_legacy', logits: 2 * 2 * 6 },
  ];
  it.each(examples)('$name: $logits logits', async ({ name, logits }) => {
    const { network, weights, input, golden } = await readExample(name);
    expect(await compareForms(network, weights, input, golden)).toBe(logits);
  });
});

describe("the deploy form's keys and shapes are those of timm's fused state_dict", () => {
  const lists = others.filter(({ file }) => file.endsWith('.fused-keys.txt'));
  it.each(lists)('$file', async ({ file }) => {
    const name = file.replace(/^fixtures\/(.*)\.fused-keys\.txt$/, '$1');
    const expected = (await readFile(pathOf(file), 'utf8')).trim().split('\n').sort();
    const { network } = fuse(await build(caseNamed(name)));
    const actual = [...weightShapesByKey(network)].map(([key, shape]) => [key, ...shape].join(' ')).sort();
    expect(actual).toEqual(expected);
  });
});

describe('the portable generator', () => {
  it('makes the same bits in TypeScript and in numpy', async () => {
    const { name, seed, config, input } = caseNamed('tiny_one_stage');
    const network = await build({ name, config, input });
    const expected = await readGolden('fixtures/portable.safetensors');
    const actual = new Map([['input', inputOf(network, seed)], ...randomWeights(network, seed)]);
    expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, { shape, data }] of expected) {
      expect(actual.get(key)?.shape, key).toEqual(shape);
      expect(actual.get(key)?.data, key).toEqual(data);
    }
  });
});
