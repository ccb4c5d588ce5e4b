/**
 * Our networks against someone else's code: timm's RepVit in PyTorch float64 (see oracle/README.md).
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fuse, fuseWeights } from '../src/fused/fuse.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import type { Network } from '../src/network/ops.ts';
import { formatShape, type Tensor, type Weights } from '../src/network/tensor.ts';
import { buildNetwork, loadConfig, parseConfig } from '../src/reference/config.ts';
import { checkWeights } from '../src/weights/check.ts';
import { randomInput, randomWeights } from '../src/weights/random.ts';
import { readSafetensors } from '../src/weights/safetensors.ts';
import manifest from './manifest.json' with { type: 'json' };

/**
 * Largest |ours - PyTorch's| over the largest |PyTorch's|. Both are float64: u = 2^-53 = 1.1e-16, sums of 10 to 1e4 terms
 * with errors that grow as their root, over about 100 layers, whose gains stay below 10; so 1e-16 * 100 * 100 * 10.
 */
const FLOAT64_AGREEMENT = 1e-11;

type Case = (typeof manifest.cases)[number];

function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Number of elements compared, and the largest error relative to the largest expected value. */
function disagreement(
  actual: Tensor | undefined,
  expected: Tensor | undefined,
): { compared: number; relative: number } {
  if (actual === undefined || expected === undefined) throw new Error('a tensor to compare is missing');
  expect(actual.shape).toEqual(expected.shape);
  let error = 0;
  let largest = 0;
  for (let i = 0; i < expected.data.length; i++) {
    error = Math.max(error, Math.abs(actual.data[i]! - expected.data[i]!));
    largest = Math.max(largest, Math.abs(expected.data[i]!));
  }
  return { compared: actual.data.length, relative: error / largest };
}

async function logitsOf(network: Network, weights: Weights, input: Tensor): Promise<Tensor | undefined> {
  const values = await evaluateFloat64(network, weights, new Map([['input', input]]));
  return values.get(network.output);
}

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

function inputOf(network: Network, seed: number): Tensor<Float32Array> {
  return randomInput(network.nodes[0]?.shape ?? [], seed);
}

function caseNamed(name: string): Case {
  const found = manifest.cases.find((golden) => golden.name === name);
  if (found === undefined) throw new Error(`no golden is named ${name}`);
  return found;
}

it('the golden files are those of the manifest, by SHA-256', async () => {
  const listed = [...manifest.cases, ...manifest.others].map(({ file, sha256 }) => [file, sha256]);
  const hashed = ['fixtures', 'examples'].map(async (folder) => {
    const files = (await readdir(pathOf(folder))).map((file) => `${folder}/${file}`);
    return Promise.all(files.map(async (file) => [file, sha256Of(await readFile(pathOf(file)))]));
  });
  const found = Object.fromEntries((await Promise.all(hashed)).flat());
  expect(found, 'a golden changed; see golden/oracle/README.md').toEqual(Object.fromEntries(listed));
});

describe('RepViT against timm in float64', () => {
  for (const golden of manifest.cases) {
    const { name, file, seed, config, input } = golden;
    const elements = 2 * input.batch * config.num_classes;
    const title = `${name} at ${formatShape([input.batch, config.in_chans, input.height, input.width])}: ${elements} logits`;
    it(title, async () => {
      const network = await build(golden);
      const weights = randomWeights(network, seed);
      const compared = await compareForms(
        network,
        weights,
        inputOf(network, seed),
        await readSafetensors(pathOf(file)),
      );
      expect(compared).toBe(elements);
    });
  }

  it('tiny_non_square: the output of every conv, batch norm and linear', async () => {
    const { name, seed, config, input } = caseNamed('tiny_non_square');
    const network = await build({ name, config, input });
    const taps = await readSafetensors(pathOf('fixtures/tiny_non_square.taps.safetensors'));
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
    const [weights, input, golden] = await Promise.all([
      readSafetensors(pathOf(`examples/${name}.weights.safetensors`)),
      readSafetensors(pathOf(`examples/${name}.input.safetensors`)),
      readSafetensors(pathOf(`examples/${name}.logits.safetensors`)),
    ]);
    const x = input.get('input');
    if (x === undefined) throw new Error(`${name} has no input`);
    const [batch = 0, , height = 0, width = 0] = x.shape;
    const network = buildNetwork(await loadConfig(pathOf(`examples/${name}.json`)), { batch, height, width }, name);
    expect(await compareForms(network, weights, x, golden)).toBe(logits);
  });
});

describe("the deploy form's keys and shapes are those of timm's fused state_dict", () => {
  const lists = manifest.others.filter(({ file }) => file.endsWith('.fused-keys.txt'));
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
    const expected = await readSafetensors(pathOf('fixtures/portable.safetensors'));
    const actual = new Map([['input', inputOf(network, seed)], ...randomWeights(network, seed)]);
    expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, { shape, data }] of expected) {
      expect(actual.get(key)?.shape, key).toEqual(shape);
      expect(actual.get(key)?.data, key).toEqual(data);
    }
  });
});
