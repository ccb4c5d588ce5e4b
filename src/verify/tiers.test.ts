import { describe, expect, test } from 'vitest';
import { type Engine, UnsupportedOp } from '../engines/engine.ts';
import type { Field } from '../fused/field.ts';
import { type Fusion, fuse, fuseWeights, roundWeights } from '../fused/fuse.ts';
import type { FusedWeights, Rule } from '../fused/rule.ts';
import { convBatchNorm } from '../fused/rules/conv-batch-norm.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import type { Network, OpOf } from '../network/ops.ts';
import { FLOAT32 } from '../network/precision.ts';
import { type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { TIERS, type Tier, type Verification, type VerifyRequest, verify } from './verify.ts';

const SEED = 3;
const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 3,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  bias: false,
};
const head: OpOf<'conv2d'> = { ...conv, outChannels: 2, kernel: [1, 1], padding: [0, 0], bias: true };

/** conv -> bn -> relu -> 1x1 conv. A 3x3 kernel shows all of its taps on 5x5 pixels. */
function network(height = 5, width = 6): Network {
  const builder = new NetworkBuilder('tiny');
  const convolved = builder.add('m.c', conv, [builder.input('input', [1, 2, height, width])]);
  const normed = builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved]);
  const active = builder.add('act', { kind: 'relu' }, [normed]);
  return builder.build(builder.add('head', head, [active]));
}

interface Recorded {
  readonly loads: { readonly network: Network; readonly weights: Weights }[];
  disposed: number;
}

type Output = Tensor<Float32Array>;

/** Computes in float64 and rounds once; `spoil` sees each output, `load` may refuse. */
function engine(
  spoil: (output: Output, network: Network) => Output = (output) => output,
  load: (network: Network) => void = () => {},
): Engine & { readonly recorded: Recorded } {
  const recorded: Recorded = { loads: [], disposed: 0 };
  return {
    recorded,
    info: {
      name: 'right',
      version: '1',
      device: 'CPU',
      threads: 1,
      precision: { ...FLOAT32, underflow: 2 ** -149, erf: 0 },
    },
    async load(given, weights) {
      load(given);
      recorded.loads.push({ network: given, weights });
      return {
        run: async (inputs) => {
          const output = (await evaluateFloat64(given, weights, inputs)).get(given.output)!;
          return spoil(toFloat32(output), given);
        },
        dispose: async () => {
          recorded.disposed++;
        },
      };
    },
    liveTensors: () => undefined,
  };
}

function request(fusion: Fusion, rest: Partial<VerifyRequest> = {}): VerifyRequest {
  return {
    fusion,
    weights: randomWeights(fusion.reference, SEED),
    input: randomInput(fusion.reference.nodes[0]!.shape, SEED),
    engines: [],
    probe: (shape, name) => randomInput(shape, SEED, name),
    ...rest,
  };
}

const tiny = fuse(network());
const storedOf = (fusion: Fusion) => roundWeights(fuseWeights(fusion, randomWeights(fusion.reference, SEED)));

function withElement(weights: Weights<Float32Array>, key: string, index: number, change: (value: number) => number) {
  const { shape, data } = weights.get(key)!;
  return new Map([...weights, [key, { shape, data: data.map((value, i) => (i === index ? change(value) : value)) }]]);
}

/** conv-batch-norm, but for the first element of its bias. */
function spoiling(spoil: <T>(value: T, field: Field<T>) => T): Rule {
  return {
    name: convBatchNorm.name,
    match(last, graph) {
      const match = convBatchNorm.match(last, graph);
      if (match === undefined) return undefined;
      const weights: FusedWeights = (field, source) => {
        const fused = match.weights(field, source);
        fused.bias![0] = spoil(fused.bias![0]!, field);
        return fused;
      };
      return { ...match, weights };
    },
  };
}

const summaries = ({ tiers }: Verification) =>
  tiers.map(({ tier, engine: name, form, verdict, compared, pieces }) =>
    [tier, name, form, verdict, compared, pieces].filter((part) => part !== undefined).join(' '),
  );

/** Elements: 3 and 2 channels of 5x6 pixels; stored weights: 3x2x3x3 + 3, and 2x3 + 2. */
const MAP = 3 * 5 * 6;
const LOGITS = 2 * 5 * 6;
const ALL = [
  /^canaries pass \d+ 0$/,
  /^structure pass \d+ 0$/,
  new RegExp(`^exact pass ${MAP + MAP + LOGITS + LOGITS} 4$`),
  /^basis pass \d+ 3$/,
  new RegExp(`^weights pass ${54 + 3 + 6 + 2} 4$`),
  new RegExp(`^algebra pass ${MAP} 1$`),
  /^dyadic right reference pass \d+ 1$/,
  /^dyadic right deploy pass \d+ 1$/,
  /^dyadic right both pass \d+ 2$/,
  new RegExp(`^runtime right reference pass ${MAP} 1$`),
  new RegExp(`^runtime right deploy pass ${MAP} 1$`),
  new RegExp(`^runtime right both pass ${MAP + LOGITS} 2$`),
  new RegExp(`^network float64, unrounded deploy pass ${LOGITS} 0$`),
  new RegExp(`^network float64 deploy pass ${LOGITS} 0$`),
  new RegExp(`^network right reference pass ${LOGITS} 0$`),
  new RegExp(`^network right deploy pass ${LOGITS} 0$`),
];

describe('a right fusion on a right engine', () => {
  test('passes in every tier, each with all that it compares', async () => {
    const right = engine();
    const told: unknown[] = [];
    const result = await verify(
      request(tiny, { form: 'fused', engines: [right], onProgress: (...progress) => told.push(progress) }),
    );
    expect(result).toMatchObject({ model: 'tiny', form: 'fused', verdict: 'pass', failures: [], problems: [] });
    const lines = summaries(result);
    expect(lines).toHaveLength(ALL.length);
    for (const [i, line] of ALL.entries()) expect(lines[i]).toMatch(line);
    expect(told).toEqual([
      [0, 3, 'm'],
      [1, 3, 'act'],
      [2, 3, 'head'],
      [3, 3, 'right, whole reference network'],
      [3, 3, 'right, whole deploy network'],
    ]);
    const basis = result.tiers.find(({ tier }) => tier === 'basis')!;
    expect(basis.rounding).toEqual({ correctly: basis.compared, inFloat32: 0, worstUlps: 0.5 });
    expect([...result.logits.keys()]).toEqual(['right/reference', 'right/deploy']);
    for (const { shape, data } of result.logits.values()) {
      expect(shape).toEqual([1, 2, 5, 6]);
      expect(data).toHaveLength(LOGITS);
    }
    expect(result.network.map(({ engine: name, form }) => [name, form])).toEqual([
      ['float64, unrounded', 'deploy'],
      ['float64', 'deploy'],
      ['right', 'reference'],
      ['right', 'deploy'],
    ]);
    // 4 pieces and forms in the dyadic tier, 4 in the runtime tier, 2 networks.
    expect(right.recorded.loads).toHaveLength(10);
    expect(right.recorded.disposed).toBe(10);
  });

  test.each(TIERS)('passes in the %s tier alone, and nothing else is done', async (tier) => {
    const right = engine();
    const result = await verify(request(tiny, { engines: [right], tiers: [tier] }));
    expect(result).toMatchObject({ form: 'deploy', verdict: 'pass', failures: [], problems: [] });
    expect([...new Set(result.tiers.map((summary) => summary.tier))]).toEqual([...new Set<Tier>(['canaries', tier])]);
    const loads: Partial<Record<Tier, number>> = { dyadic: 4, runtime: 4, network: 2 };
    expect(right.recorded.loads).toHaveLength(loads[tier] ?? 0);
    expect(result.network).toHaveLength(tier === 'network' ? 4 : 0);
  });
});

describe('without what a tier needs', () => {
  test('no engine: nothing was run', async () => {
    const result = await verify(request(tiny));
    expect(result.verdict).toBe('nothing compared');
    expect(result.problems.toSorted()).toEqual([
      'the dyadic tier compared nothing: no engine was given',
      'the runtime tier compared nothing: no engine was given',
    ]);
  });

  test('no rule applies: there is no region, and the structure says why', async () => {
    const result = await verify(request(fuse(network(), []), { engines: [engine()] }));
    expect(result.verdict).toBe('fail');
    expect(result.problems.toSorted()).toEqual([
      'm.bn is a batch norm that was not folded',
      'the algebra tier compared nothing: no piece has any',
    ]);
  });

  test('neither rule nor engine: each tier says which it is', async () => {
    const tiers = ['basis', 'algebra', 'runtime'] as const;
    const { problems } = await verify(request(fuse(network(), []), { tiers }));
    expect(problems.toSorted()).toEqual([
      'the algebra tier compared nothing: no piece has any',
      'the runtime tier compared nothing: no engine was given',
    ]);
  });

  test('nothing but GELU: the dyadic tier has no piece', async () => {
    const builder = new NetworkBuilder('gelu');
    const fusion = fuse(builder.build(builder.add('act', { kind: 'gelu' }, [builder.input('input', [1, 2])])));
    const { problems } = await verify(request(fusion, { engines: [engine()], tiers: ['dyadic'] }));
    expect(problems).toEqual(['the dyadic tier compared nothing: no piece has any']);
  });

  test('forms that read other values have no regions in common', async () => {
    const nodes = tiny.network.nodes.map((node) => (node.name === 'head' ? { ...node, inputs: ['m'] } : node));
    const broken = { ...tiny, network: { ...tiny.network, nodes } };
    const right = engine();
    const result = await verify(request(broken, { engines: [right], miniature: tiny }));
    expect(result.verdict).toBe('fail');
    const without = ['basis', 'weights', 'algebra', 'dyadic', 'runtime'] as const;
    for (const tier of without) {
      expect(summaries(result)).toContain(`${tier} nothing compared 0 0`);
      expect(result.problems).toContain(`the ${tier} tier compared nothing: the forms have no regions in common`);
    }
    // Only the two networks are run.
    expect(right.recorded.loads).toHaveLength(2);
  });

  test('of too many weights no exact tier without a miniature', async () => {
    const wide = (outChannels: number): Network => {
      const builder = new NetworkBuilder('wide');
      return builder.build(builder.add('head', { ...head, outChannels }, [builder.input('input', [1, 3, 2, 2])]));
    };
    // 4 weights an output.
    const largest = await verify(request(fuse(wide(500)), { tiers: ['exact'] }));
    expect(summaries(largest)[1]).toBe(`exact pass ${2 * 500 * 4} 2`);
    const larger = fuse(wide(501));
    const without = await verify(request(larger, { tiers: ['exact'] }));
    expect(summaries(without)[1]).toBe('exact nothing compared 0 0');
    expect(without).toMatchObject({
      verdict: 'nothing compared',
      problems: ['the exact tier compared nothing: wide is too large for exact fractions, and no miniature was given'],
    });
    const given = await verify(request(larger, { tiers: ['exact'], miniature: tiny }));
    expect(summaries(given)[1]).toBe(`exact pass ${MAP + MAP + LOGITS + LOGITS} 4`);
  });
});

describe('only one deploy node', () => {
  test('is verified as in the whole, without the exact and the network tier', async () => {
    const right = engine();
    const result = await verify(request(tiny, { engines: [right], only: 'm' }));
    expect(result).toMatchObject({ verdict: 'pass', problems: [] });
    const lines = summaries(result);
    const expected = ALL.filter((line) => !/exact|network| both |weights|basis/.test(line.source));
    expect(lines.filter((line) => !/^(weights|basis)/.test(line))).toHaveLength(expected.length);
    expect(lines).toContainEqual(expect.stringMatching(/^basis pass \d+ 1$/));
    for (const line of expected) expect(lines.some((own) => line.test(own))).toBe(true);
    expect(lines).toContain(`weights pass ${54 + 3} 2`);
  });

  test('without weights needs no tier of them', async () => {
    const result = await verify(request(tiny, { engines: [engine()], only: 'act' }));
    expect(result).toMatchObject({ verdict: 'pass', problems: [] });
    expect(result.tiers.map(({ tier }) => tier)).toEqual(['canaries', 'structure', 'dyadic', 'runtime']);
  });

  test('without an engine compared nothing by running it', async () => {
    const result = await verify(request(tiny, { only: 'm' }));
    expect(result.problems).toEqual(['the runtime tier compared nothing: no engine was given']);
  });

  test('of a network without any is refused', async () => {
    const builder = new NetworkBuilder('nothing');
    const nothing = fuse(builder.build(builder.input('input', [1, 2])));
    await expect(verify(request(nothing, { only: 'input' }))).rejects.toThrow(InputError);
  });

  test('must be there', async () => {
    const lost = verify(request(tiny, { only: 'm.c' }));
    await expect(lost).rejects.toThrow(InputError);
    await expect(lost).rejects.toThrow("m.c is no region of tiny's deploy form; a report names them, such as head");
  });
});

describe('stored deploy weights', () => {
  const right = storedOf(tiny);
  const only = { tiers: ['weights'] } as const;

  test('that rounding in float32 explains are said to be so rounded', async () => {
    const deployWeights = withElement(right, 'm.weight', 4, (value) => value * (1 + 2 ** -22));
    const result = await verify(request(tiny, { ...only, deployWeights }));
    expect(result.failures).toHaveLength(1);
    expect(result.failures[0]).toMatchObject({
      tier: 'weights',
      piece: 'm',
      rules: ['conv-batch-norm'],
      reference: ['m.c', 'm.bn'],
      key: 'm.weight',
      shape: [3, 2, 3, 3],
      roundedInFloat32: true,
      comparison: { failures: 1 },
    });
    const fine = result.tiers.find(({ tier }) => tier === 'weights');
    expect(fine).toMatchObject({ verdict: 'fail', compared: 65, pieces: 4, worstPiece: 'm' });
  });

  /** Up to gamma_6: var + eps, root, quotient, product, difference, and the rounding of what is stored. */
  const UNIT = 2 ** -24;

  test.each([
    [5, true],
    [8, false],
  ])('that are off by %d u: explained by rounding in float32 is %s', async (units, roundedInFloat32) => {
    const deployWeights = withElement(right, 'm.weight', 4, (value) => value * (1 + units * UNIT));
    const result = await verify(request(tiny, { ...only, deployWeights }));
    expect(result.failures).toMatchObject([{ key: 'm.weight', roundedInFloat32 }]);
  });

  test('of a dead channel are zero, and explained', async () => {
    const dead = withElement(randomWeights(tiny.reference, SEED), 'm.bn.weight', 1, () => 0);
    const own = roundWeights(fuseWeights(tiny, dead));
    const deployWeights = withElement(own, 'm.weight', 4, (value) => value * (1 + 2 * UNIT));
    const result = await verify(request(tiny, { ...only, weights: dead, deployWeights }));
    expect(result.failures).toMatchObject([{ key: 'm.weight', roundedInFloat32: true, comparison: { failures: 1 } }]);
  });

  test('given by others may be rounded in float32 on the way, those of a rule may not', async () => {
    const deployWeights = withElement(right, 'm.weight', 4, (value) => value * (1 + 4 * UNIT));
    const given = await verify(request(tiny, { tiers: ['basis'], deployWeights }));
    expect(given.verdict).toBe('pass');
    expect(given.tiers[1]!.rounding).toMatchObject({ worstWeight: 'm.weight[0, 0, 1, 1]' });
    const rounding = fuse(network(), [spoiling((value, field) => field.mul(value, field.of(1 + 4 * UNIT)))]);
    const made = await verify(request(rounding, { tiers: ['basis'] }));
    expect(made.verdict).toBe('fail');
    expect(made.failures).toMatchObject([{ tier: 'basis', piece: 'm', key: 'm.bias', roundedInFloat32: true }]);
  });

  test('that no rounding explains are not', async () => {
    const deployWeights = withElement(right, 'm.weight', 4, (value) => value * (1 + 2 ** -16));
    const result = await verify(request(tiny, { ...only, deployWeights }));
    expect(result.failures).toMatchObject([{ key: 'm.weight', roundedInFloat32: false }]);
  });

  test('of which only one of several wrong ones is explained are not', async () => {
    const one = withElement(right, 'm.bias', 0, (value) => value * (1 + 2 ** -22));
    const deployWeights = withElement(one, 'm.bias', 2, (value) => value + 1);
    const result = await verify(request(tiny, { ...only, deployWeights }));
    expect(result.failures).toMatchObject([{ key: 'm.bias', roundedInFloat32: false, comparison: { failures: 2 } }]);
  });

  test('that no rule makes are never the work of rounding', async () => {
    const deployWeights = withElement(right, 'head.weight', 1, (value) => value * (1 + 2 ** -22));
    const result = await verify(request(tiny, { ...only, deployWeights }));
    expect(result.failures).toMatchObject([{ piece: 'head', rules: [], reference: ['head'], key: 'head.weight' }]);
    expect(result.failures[0]).not.toHaveProperty('roundedInFloat32');
  });

  test('are those that an engine runs', async () => {
    const deployWeights = withElement(right, 'm.bias', 0, (value) => value + 1);
    const run = engine();
    const result = await verify(request(tiny, { tiers: ['runtime'], engines: [run], deployWeights }));
    expect(result.verdict).toBe('pass');
    const biases = run.recorded.loads.flatMap(({ weights }) => weights.get('m.bias') ?? []);
    expect(biases).toContainEqual(deployWeights.get('m.bias'));
  });

  test('two wrong tensors of a region are counted once in its basis', async () => {
    const one = withElement(right, 'm.bias', 0, (value) => value + 1);
    const both = withElement(one, 'm.weight', 0, (value) => value + 1);
    const clean = await verify(request(tiny, { tiers: ['basis'] }));
    const result = await verify(request(tiny, { tiers: ['basis'], deployWeights: both }));
    expect(result.failures.map(({ tier, piece, key }) => [tier, piece, key]).toSorted()).toEqual([
      ['basis', 'm', 'm.bias'],
      ['basis', 'm', 'm.weight'],
    ]);
    const entries = clean.tiers[1]!.compared;
    const wrong = result.failures.reduce((sum, { comparison }) => sum + comparison.failures, 0);
    expect(result.tiers[1]!.rounding).toMatchObject({ correctly: entries - wrong, inFloat32: 0 });
  });
});

describe('float64 weights', () => {
  const weights = new Map(
    [...randomWeights(tiny.reference, SEED)].map(([key, { shape, data }]) => [
      key,
      { shape, data: Float64Array.from(data, (value) => value * (1 + 2 ** -30)) },
    ]),
  );

  test('are rounded for an engine, and its reference form is held against the rounded ones', async () => {
    const run = engine();
    const result = await verify(request(tiny, { weights, engines: [run] }));
    expect(result).toMatchObject({ verdict: 'pass', failures: [] });
    const piece = run.recorded.loads.find(
      ({ network: loaded }) => loaded.name === 'tiny/m.bn' && loaded.nodes.length === 3,
    );
    for (const { data } of [...piece!.weights.values()]) expect(data).toBeInstanceOf(Float32Array);
  });
});

test('one float64 tensor of several is rounded for an engine, too', async () => {
  const random = randomWeights(tiny.reference, SEED);
  const { shape, data } = random.get('m.c.weight')!;
  const third = { shape, data: Float64Array.from(data, (value) => value / 3) };
  const weights = new Map<string, Tensor>([...random, ['m.c.weight', third]]);
  const run = engine();
  const result = await verify(request(tiny, { weights, engines: [run], tiers: ['runtime'] }));
  expect(result).toMatchObject({ verdict: 'pass', failures: [] });
  const kernels = run.recorded.loads.flatMap((loaded) => loaded.weights.get('m.c.weight') ?? []);
  expect(kernels).toHaveLength(1);
  expect(kernels[0]!.data).toEqual(Float32Array.from(data, (value) => value / 3));
});

test('a value that several pieces read is there for each of them', async () => {
  const builder = new NetworkBuilder('residual');
  const x = builder.add('act', { kind: 'relu' }, [builder.input('input', [1, 2, 5, 5])]);
  const convolved = builder.add('m.c', { ...conv, outChannels: 2 }, [x]);
  const normed = builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved]);
  const again = builder.add('act2', { kind: 'relu' }, [normed]);
  const fusion = fuse(builder.build(builder.add('add', { kind: 'add' }, [x, again])));
  const result = await verify(request(fusion, { engines: [engine()], tiers: ['algebra', 'runtime'] }));
  expect(result).toMatchObject({ verdict: 'pass', failures: [] });
  expect(summaries(result)).toContain(`runtime right both pass ${3 * 50} 3`);
});

test('results below the smallest normal number are held against what underflow adds', async () => {
  const builder = new NetworkBuilder('subnormal');
  const fusion = fuse(
    builder.build(builder.add('c', { ...conv, bias: false }, [builder.input('input', [1, 2, 5, 5])])),
  );
  const { input } = request(fusion);
  const small = { ...input, data: input.data.map((value) => value * 2 ** -138) };
  const result = await verify(request(fusion, { input: small, engines: [engine()], tiers: ['runtime'] }));
  expect(result).toMatchObject({ verdict: 'pass', failures: [] });
});

describe('a map on which some taps have nothing to read', () => {
  const probesOf = async (height: number, width: number, rest: Partial<VerifyRequest> = {}) => {
    const asked: unknown[] = [];
    const fusion = fuse(network(height, width));
    const probe: VerifyRequest['probe'] = (shape, name) => {
      asked.push([shape, name]);
      return randomInput(shape, SEED, name);
    };
    const result = await verify(
      request(fusion, { tiers: ['algebra', 'runtime'], engines: [engine()], probe, ...rest }),
    );
    return { asked, result };
  };

  test.each([
    [4, 9],
    [9, 4],
    [1, 1],
  ])('of %dx%d pixels is replaced by a probe of 5x5', async (height, width) => {
    const { asked, result } = await probesOf(height, width);
    expect(asked).toEqual([[[1, 2, 5, 5], 'm.probe']]);
    expect(result.verdict).toBe('pass');
    const pixels = 3 * (height * width + 25);
    expect(summaries(result)).toContain(`algebra pass ${pixels} 2`);
    expect(summaries(result)).toContain(`runtime right deploy pass ${pixels} 2`);
  });

  test.each([
    [5, 5],
    [9, 8],
  ])('one of %dx%d pixels is large enough', async (height, width) => {
    const { asked, result } = await probesOf(height, width);
    expect(asked).toEqual([]);
    expect(summaries(result)).toContain(`algebra pass ${3 * height * width} 1`);
  });

  test('is no matter to the weights', async () => {
    const { asked, result } = await probesOf(1, 1, { tiers: ['basis', 'weights'] });
    expect(asked).toEqual([]);
    expect(result.verdict).toBe('pass');
  });

  test('is told from the own map in what fails', async () => {
    const wrong = engine((output, { output: name }) =>
      name === 'm' ? { ...output, data: output.data.map((value) => value + 1) } : output,
    );
    const { result } = await probesOf(1, 1, { engines: [wrong] });
    expect(result.failures.map(({ piece, input, shape }) => [piece, input, shape])).toEqual([
      ['m', 'own', [1, 3, 1, 1]],
      ['m', 'probe', [1, 3, 5, 5]],
    ]);
  });

  /** The shapes of the probes of a network of one region. */
  const askedBy = async (build: (builder: NetworkBuilder) => string) => {
    const builder = new NetworkBuilder('one');
    const fusion = fuse(builder.build(build(builder)));
    const asked: unknown[] = [];
    const probe: VerifyRequest['probe'] = (shape, name) => {
      asked.push(shape);
      return randomInput(shape, SEED, name);
    };
    const result = await verify(request(fusion, { tiers: ['algebra'], probe }));
    return { asked, verdict: result.verdict };
  };
  const norm = { kind: 'batchNorm', eps: 1e-5 } as const;

  test('is as large as dilated taps need', async () => {
    const dilated = { ...conv, kernel: [3, 2], dilation: [2, 3], padding: [2, 2] } as const;
    const { asked, verdict } = await askedBy((builder) =>
      builder.add('m.bn', norm, [builder.add('m.c', dilated, [builder.input('input', [1, 2, 2, 2])])]),
    );
    // 2 (2 * 2 + 1) - 1 rows, 2 (3 + 1) - 1 columns
    expect({ asked, verdict }).toEqual({ asked: [[1, 2, 9, 7]], verdict: 'pass' });
  });

  test('is left as it is where nothing is fused', async () => {
    const { asked } = await askedBy((builder) => builder.add('c', conv, [builder.input('input', [1, 2, 2, 2])]));
    expect(asked).toEqual([]);
  });

  test('is left as it is where the taps become a layer over windows, which has all of them', async () => {
    const depthwise = { ...conv, outChannels: 2, groups: 2 };
    const { asked, verdict } = await askedBy((builder) => {
      const x = builder.input('input', [1, 2, 2, 2]);
      const terms = [builder.add('fc3', { kind: 'setLinear', bias: true }, [x]), builder.add('c', depthwise, [x])];
      return builder.add('add', { kind: 'add' }, terms);
    });
    expect({ asked, verdict }).toEqual({ asked: [], verdict: 'pass' });
  });

  test('is scaled like the own input, by a power of two', async () => {
    const own = randomInput([1, 2, 1, 1], SEED);
    const inputs: number[] = [];
    const run: Engine = {
      ...engine(),
      async load(given, weights) {
        const loaded = await engine().load(given, weights);
        return {
          ...loaded,
          run: (values) => {
            if (given.output === 'm.bn') inputs.push(Math.max(...[...values.values()][0]!.data.map(Math.abs)));
            return loaded.run(values);
          },
        };
      },
    };
    const probe: VerifyRequest['probe'] = (shape) => ({ shape, data: new Float32Array(50).fill(-1) });
    const input = { shape: own.shape, data: Float32Array.of(-37, 5) };
    await probesOf(1, 1, { input, probe, engines: [run], tiers: ['runtime'] });
    expect(inputs).toEqual([37, 32]);
    const zeros = { shape: own.shape, data: new Float32Array(2) };
    await probesOf(1, 1, { input: zeros, probe, engines: [run], tiers: ['runtime'] });
    expect(inputs).toEqual([37, 32, 0, 1]);
  });
});

describe('values beyond what numbers hold', () => {
  const scaled = (key: string, factor: number): Weights =>
    new Map(
      [...randomWeights(tiny.reference, SEED)].map(([name, { shape, data }]) => [
        name,
        { shape, data: Float64Array.from(data, (value) => (name === key ? value * factor : value)) },
      ]),
    );

  test('of the oracle are inconclusive from there on, and blame no engine', async () => {
    const input = { ...request(tiny).input, data: request(tiny).input.data.map((value) => value * 2 ** 100) };
    const weights = scaled('m.c.weight', 2 ** 1000);
    const result = await verify(
      request(tiny, { weights, input, engines: [engine()], tiers: ['algebra', 'runtime', 'network'] }),
    );
    expect(result.verdict).toBe('inconclusive');
    const reason = "the oracle's own value is not finite";
    expect(result.failures.map(({ tier, piece, engine: name, form }) => [tier, piece, name, form])).toEqual([
      ['algebra', 'm', undefined, undefined],
      ['runtime', 'm', 'right', 'deploy'],
      ['runtime', 'act', 'right', 'both'],
      ['runtime', 'head', 'right', 'both'],
    ]);
    for (const { comparison } of result.failures) {
      expect(comparison).toEqual({
        verdict: 'inconclusive',
        compared: 0,
        failures: 0,
        worstRatio: 0,
        worst: [],
        reason,
      });
    }
    expect(result.problems).toEqual(["the oracle's own logits are not all finite"]);
  });

  test('of the oracle need no engine to be inconclusive', async () => {
    const weights = scaled('m.c.weight', Number.POSITIVE_INFINITY);
    const result = await verify(request(tiny, { weights, engines: [engine()], tiers: ['algebra'] }));
    expect(result.failures.map(({ tier, comparison }) => [tier, comparison.verdict])).toEqual([
      ['algebra', 'inconclusive'],
    ]);
  });

  test('in one of the logits are inconclusive', async () => {
    const random = randomWeights(tiny.reference, SEED);
    const weights = withElement(random, 'head.bias', 1, () => Number.POSITIVE_INFINITY);
    const result = await verify(request(tiny, { weights, engines: [engine()], tiers: ['network'] }));
    expect(result.verdict).toBe('inconclusive');
    expect(summaries(result)).toContain(`network right deploy inconclusive ${LOGITS} 0`);
    expect(result.problems).toEqual(["the oracle's own logits are not all finite"]);
  });

  test('of an engine are a failure', async () => {
    const infinite = engine((output, { output: name }) =>
      name === 'head' ? { ...output, data: output.data.map(() => Number.NaN) } : output,
    );
    const result = await verify(request(tiny, { engines: [infinite], tiers: ['network'] }));
    expect(result.verdict).toBe('fail');
    expect(result.problems).toEqual([
      "right's logits of the reference form are not all finite",
      "right's logits of the deploy form are not all finite",
    ]);
  });

  test('on the way leave no bound', async () => {
    // 2^127 and more cancels in a sum of both signs: the value is finite, the magnitude is not.
    const input = {
      ...request(tiny).input,
      data: request(tiny).input.data.map((value) => Math.sign(value) * 2 ** 127),
    };
    const result = await verify(request(tiny, { input, engines: [engine()], tiers: ['runtime'] }));
    expect(result.verdict).toBe('inconclusive');
    const overflow = { verdict: 'inconclusive', reason: 'the values may overflow, so there is no bound' };
    expect(result.failures[0]).toMatchObject({ piece: 'm', form: 'reference', comparison: overflow });
  });
});

describe('an engine that', () => {
  test('is off in one element is named with the form and the bound', async () => {
    const wrong = engine((output, { output: name }) =>
      name === 'm' ? { ...output, data: output.data.map((value, i) => (i === 7 ? value + 1 : value)) } : output,
    );
    const result = await verify(request(tiny, { engines: [wrong], tiers: ['runtime'] }));
    expect(result.failures).toHaveLength(1);
    expect(result.failures[0]).toMatchObject({
      tier: 'runtime',
      piece: 'm',
      engine: 'right',
      form: 'deploy',
      input: 'own',
      shape: [1, 3, 5, 6],
      // 2x3x3 taps and a bias, and the bound's own.
      operations: 18 + 1 + 1,
      comparison: { verdict: 'fail', compared: MAP, failures: 1 },
    });
    expect(result.failures[0]!.comparison.worst[0]!.index).toBe(7);
    expect(wrong.recorded.disposed).toBe(wrong.recorded.loads.length);
  });

  test.each([
    ['refuses by design', new UnsupportedOp('no relu here'), 'inconclusive', 'no relu here'],
    ['fails', new Error('out of memory'), 'fail', 'out of memory'],
    ['throws what is no error', 'nonsense', 'fail', 'nonsense'],
  ])('%s is not passed', async (_name, thrown, verdict, reason) => {
    const refusing = engine(undefined, ({ nodes }) => {
      if (nodes.some(({ op }) => op.kind === 'relu')) throw thrown;
    });
    const result = await verify(request(tiny, { engines: [refusing], tiers: ['runtime', 'network'] }));
    expect(result.verdict).toBe(verdict);
    expect(result.failures).toHaveLength(1);
    expect(result.failures[0]).toMatchObject({
      piece: 'act',
      form: 'both',
      comparison: { verdict, compared: 0, reason },
    });
    expect(result.problems).toEqual([reason]);
    expect(summaries(result)).toContain(`network right deploy ${verdict} 0 0`);
    expect(result.logits.size).toBe(0);
  });

  test('fails while it runs lets go of what it has loaded', async () => {
    const broken = engine(() => {
      throw new Error('lost the device');
    });
    const result = await verify(request(tiny, { engines: [broken], tiers: ['runtime', 'network'] }));
    expect(result.verdict).toBe('fail');
    expect(new Set(result.failures.map(({ comparison }) => comparison.reason))).toEqual(new Set(['lost the device']));
    expect(broken.recorded.disposed).toBe(broken.recorded.loads.length);
    expect(broken.recorded.disposed).toBeGreaterThan(0);
  });
});

test('the bound of the algebra counts both forms and the roundings of the fused weights', async () => {
  const wrong = spoiling((value, field) => field.add(value, field.of(1)));
  const result = await verify(request(fuse(network(), [wrong]), { tiers: ['algebra'] }));
  expect(result.failures).toHaveLength(1);
  // 18 taps and a sum, the batch norm's 8; 18 taps and a bias; var + eps, root, quotient, product, difference and the
  // error's own sum; the bound's own.
  expect(result.failures[0]).toMatchObject({
    tier: 'algebra',
    piece: 'm',
    input: 'own',
    shape: [1, 3, 5, 6],
    operations: 18 + 1 + 8 + (18 + 1) + 6 + 1,
    comparison: { verdict: 'fail', compared: MAP, failures: 30 },
  });
});
