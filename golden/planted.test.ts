/**
 * What a changed generator, definition, op or rule does to the goldens: each is planted in the module itself, and the check
 * must fail and name network, form and stage.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type * as RepVggDw from '../src/fused/rules/repvggdw.ts';
import type * as Gelu from '../src/interpreters/kernels/gelu.ts';
import type { Network, Node } from '../src/network/ops.ts';
import type { Tensor } from '../src/network/tensor.ts';
import type * as RepMlpNet from '../src/reference/repmlpnet.ts';
import type * as RepVit from '../src/reference/repvit.ts';
import type * as Random from '../src/weights/random.ts';
import { FOLDER, goldenNamed } from './goldens.ts';

beforeEach(() => {
  vi.resetModules();
});
afterEach(() => {
  vi.doUnmock('../src/weights/random.ts');
  vi.doUnmock('../src/reference/repvit.ts');
  vi.doUnmock('../src/reference/repmlpnet.ts');
  for (const kernels of ['gelu', 'elementwise', 'conv2d', 'windows']) {
    vi.doUnmock(`../src/interpreters/kernels/${kernels}.ts`);
  }
  vi.doUnmock('../src/fused/rules/repvggdw.ts');
});

/** The check with whatever is planted by now: problems of the oracle's plain run, and the first of each form. */
async function check(name: string) {
  const { checkGolden } = await import('../src/golden/check.ts');
  const { verdict, problems } = await checkGolden(goldenNamed(name), FOLDER, { crossChecks: false });
  const firstOf = (form: string) => problems.find((problem) => problem.includes(`, ${form} form, `));
  return { verdict, problems, train: firstOf('train'), deploy: firstOf('deploy') };
}

const NAME = 'repvit_m0_6_20x33';
const NETWORK = 'repvit_m0_6 at 20x33';

it('nothing planted: it passes', async () => {
  expect(await check(NAME)).toEqual({ verdict: 'pass', problems: [], train: undefined, deploy: undefined });
});

describe('the generator', () => {
  it('another bit of one weight: the stage that it is in, and not the one before', async () => {
    vi.doMock('../src/weights/random.ts', async (original) => {
      const actual = await original<typeof Random>();
      const randomWeights: typeof Random.randomWeights = (network, seed) => {
        const weights = actual.randomWeights(network, seed);
        const { data } = weights.get('stages.2.blocks.3.channel_mixer.conv1.c.weight')!;
        data[17]! *= 1 + 2 ** -23;
        return weights;
      };
      return { ...actual, randomWeights };
    });
    const { verdict, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toMatch(`${NETWORK}, train form, stages.2: relative error `);
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.2 (sample): relative error `);
  });

  it('another version, with another gain: the version, and the first stage that its weights move', async () => {
    vi.doMock('../src/weights/random.ts', async (original) => {
      const actual = await original<typeof Random>();
      const randomWeights: typeof Random.randomWeights = (network, seed) => {
        const weights = actual.randomWeights(network, seed);
        for (const [key, { data }] of weights) {
          if (!key.endsWith('.c.weight')) continue;
          data.forEach((value, i) => {
            data[i] = 0.96 * (value / 0.95);
          });
        }
        return weights;
      };
      return { ...actual, GENERATOR_VERSION: 2, randomWeights };
    });
    const { verdict, problems, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(problems[0]).toMatch(`${NETWORK}: made with version 1 of the weights generator, this is version 2`);
    expect(train).toMatch(`${NETWORK}, train form, stages.0: relative error `);
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.0 (sample): relative error `);
  });

  it('another input: every stage from the first on', async () => {
    vi.doMock('../src/weights/random.ts', async (original) => {
      const actual = await original<typeof Random>();
      const randomInput: typeof Random.randomInput = (shape, seed, name) =>
        actual.randomInput(shape, seed, name ?? 'image');
      return { ...actual, randomInput };
    });
    const { verdict, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toMatch(`${NETWORK}, train form, stages.0: relative error `);
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.0 (sample): relative error `);
  });
});

/** The network with nodes changed. */
function changed(network: Network, change: (node: Node) => Node): Network {
  return { ...network, nodes: network.nodes.map(change) };
}

describe("a network's definition", () => {
  it('RepViT: an eps', async () => {
    vi.doMock('../src/reference/repvit.ts', async (original) => {
      const actual = await original<typeof RepVit>();
      const build: typeof actual.repVit.build = (...given) =>
        changed(actual.repVit.build(...given), (node) =>
          node.name === 'stages.1.blocks.0.token_mixer.bn'
            ? ({ ...node, op: { kind: 'batchNorm', eps: 1.001e-5 } } as Node)
            : node,
        );
      return { ...actual, repVit: { ...actual.repVit, build } };
    });
    const { verdict, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toMatch(`${NETWORK}, train form, stages.1: relative error `);
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.1 (sample): relative error `);
  });

  it('RepViT: the published depth of a stage', async () => {
    vi.doMock('../src/reference/repvit.ts', async (original) => {
      const actual = await original<typeof RepVit>();
      const variants = actual.repVit.variants.map((variant) =>
        variant.name === 'repvit_m0_6' ? { ...variant, config: { ...variant.config, depth: [1, 1, 9, 1] } } : variant,
      );
      return { ...actual, repVit: { ...actual.repVit, variants } };
    });
    const { verdict, problems, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toBe(`${NETWORK}, train form, definition: depth is [1,1,9,1] here, [1,1,8,1] in the golden`);
    expect(problems[1]).toMatch(`${NETWORK}, train form, stages.2: relative error `);
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.2 (sample): relative error `);
  });

  it('RepViT: a published network that is no more', async () => {
    vi.doMock('../src/reference/repvit.ts', async (original) => {
      const actual = await original<typeof RepVit>();
      const variants = actual.repVit.variants.filter(({ name }) => name !== 'repvit_m0_6');
      return { ...actual, repVit: { ...actual.repVit, variants } };
    });
    const { verdict, train } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toBe(`${NETWORK}, train form, ${NAME}: no network is published as repvit_m0_6 any more`);
  });

  it('RepMLPNet: the place of an activation', async () => {
    vi.doMock('../src/reference/repmlpnet.ts', async (original) => {
      const actual = await original<typeof RepMlpNet>();
      const build: typeof actual.repMlpNet.build = (...given) =>
        changed(actual.repMlpNet.build(...given), (node) =>
          node.name === 'embeds.0.relu' ? ({ ...node, op: { kind: 'gelu' } } as Node) : node,
        );
      return { ...actual, repMlpNet: { ...actual.repMlpNet, build } };
    });
    const { verdict, train, deploy, problems } = await check('repmlpnet_tiny_rectangles');
    expect(verdict).toBe('fail');
    expect(train).toMatch('repmlpnet_tiny_rectangles, train form, stages.1: relative error ');
    expect(deploy).toMatch('repmlpnet_tiny_rectangles, deploy form, stages.1 (sample): relative error ');
    const official = problems.find((problem) => problem.includes(', deploy-official form, '));
    expect(official).toMatch('repmlpnet_tiny_rectangles, deploy-official form, stages.1 (sample): relative error ');
  });
});

describe('an op', () => {
  it("GELU by its tanh approximation: the first stage, which the stem's GELU comes before", async () => {
    vi.doMock('../src/interpreters/kernels/gelu.ts', async (original) => {
      const actual = await original<typeof Gelu>();
      const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
      return { ...actual, gelu, geluArray: (values: Float64Array) => values.map(gelu) };
    });
    const { verdict, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toMatch(`${NETWORK}, train form, stages.0: relative error `);
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.0 (sample): relative error `);
  });

  const RECTANGLES = 'repmlpnet_tiny_rectangles';
  const inFirst = ['stages.0', 'stages.0 (sample)'];
  it.each([
    { op: 'conv2d', kernels: 'conv2d', kernel: 'conv2dFast', name: NAME, stages: inFirst },
    // None is left in the deploy form.
    { op: 'batchNorm', kernels: 'elementwise', kernel: 'affinePerChannel', name: NAME, stages: ['stages.0'] },
    { op: 'add', kernels: 'elementwise', kernel: 'sum', name: NAME, stages: inFirst },
    { op: 'mul', kernels: 'elementwise', kernel: 'gateProduct', name: NAME, stages: inFirst },
    { op: 'relu', kernels: 'elementwise', kernel: 'relu', name: NAME, stages: inFirst },
    { op: 'sigmoid', kernels: 'elementwise', kernel: 'map', name: NAME, stages: inFirst },
    { op: 'globalAvgPool', kernels: 'elementwise', kernel: 'spatialMean', name: NAME, stages: inFirst },
    { op: 'linear', kernels: 'elementwise', kernel: 'linear', name: NAME, stages: ['logits', 'logits'] },
    // Nor of these.
    { op: 'partition', kernels: 'windows', kernel: 'partition', name: RECTANGLES, stages: ['stages.0'] },
    { op: 'departition', kernels: 'windows', kernel: 'departition', name: RECTANGLES, stages: ['stages.0'] },
    { op: 'setLinear', kernels: 'windows', kernel: 'setLinearFast', name: RECTANGLES, stages: inFirst },
    // Of the deploy form alone.
    {
      op: 'windowLinear',
      kernels: 'windows',
      kernel: 'windowLinear',
      name: RECTANGLES,
      stages: [undefined, inFirst[1]],
    },
  ])('$op, a millionth larger', async ({ kernels, kernel, name, stages }) => {
    let calls = 0;
    type Value = Tensor<Float64Array>;
    const enlarged = (value: Value) => {
      calls++;
      // In place: the array is the evaluation's own.
      for (let i = 0; i < value.data.length; i++) value.data[i]! *= 1 + 1e-6;
      return value;
    };
    vi.doMock(`../src/interpreters/kernels/${kernels}.ts`, async (original) => {
      const actual = await original<Record<string, (...given: unknown[]) => Value | Promise<Value>>>();
      const larger = (...given: unknown[]) => {
        const value = actual[kernel]!(...given);
        return value instanceof Promise ? value.then(enlarged) : enlarged(value);
      };
      return { ...actual, [kernel]: larger };
    });
    const { verdict, train, deploy } = await check(name);
    expect(calls).toBeGreaterThan(0);
    expect(verdict).toBe('fail');
    const network = name === NAME ? NETWORK : name;
    expect([train, deploy].map((problem) => problem?.split(': relative error ')[0])).toEqual(
      ['train', 'deploy'].map((form, i) => stages[i] && `${network}, ${form} form, ${stages[i]}`),
    );
  });
});

describe('a rule', () => {
  it('that counts an identity twice, in one channel: the deploy form alone', async () => {
    vi.doMock('../src/fused/rules/repvggdw.ts', async (original) => {
      const actual = await original<typeof RepVggDw>();
      const match: typeof actual.repVggDw.match = (...given) => {
        const found = actual.repVggDw.match(...given);
        if (found === undefined) return undefined;
        const weights: typeof found.weights = (field, values) => {
          const fused = found.weights(field, values);
          const { weight } = fused;
          if (weight !== undefined) weight[4] = field.add(weight[4]!, field.of(1));
          return fused;
        };
        return { ...found, weights };
      };
      return { ...actual, repVggDw: { ...actual.repVggDw, match } };
    });
    const { verdict, train, deploy } = await check(NAME);
    expect(verdict).toBe('fail');
    expect(train).toBeUndefined();
    expect(deploy).toMatch(`${NETWORK}, deploy form, stages.0 (sample): relative error `);
  });
});

describe('an engine', () => {
  it('that computes one op otherwise', async () => {
    const { checkGolden } = await import('../src/golden/check.ts');
    const { openEngine } = await import('../src/engines/index.ts');
    const engine = await openEngine('onnxruntime', { threads: 1 });
    const wrong = {
      ...engine,
      info: engine.info,
      load: (network: Network, weights: Parameters<typeof engine.load>[1]) =>
        engine.load(
          changed(network, (node) => (node.op.kind === 'sigmoid' ? ({ ...node, op: { kind: 'relu' } } as Node) : node)),
          weights,
        ),
      liveTensors: () => engine.liveTensors(),
    };
    const { verdict, problems } = await checkGolden(goldenNamed(NAME), FOLDER, {
      engines: [{ label: 'wrong', engine: wrong }],
    });
    expect(verdict).toBe('fail');
    expect(problems.every((problem) => problem.includes('(wrong, '))).toBe(true);
    expect(problems.some((problem) => problem.startsWith(`${NETWORK}, deploy form, stages.0.blocks.0.se.gate: `))).toBe(
      true,
    );
    expect(problems.some((problem) => problem.startsWith(`${NETWORK}, deploy form, logits: `))).toBe(true);
  });
});
