import { beforeAll, describe, expect, test } from 'vitest';
import type { Engine, EngineInputs } from '../engines/engine.ts';
import { UnsupportedOp } from '../engines/engine.ts';
import { openEngine } from '../engines/index.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse, fuseWeights, roundWeights, rules } from '../fused/fuse.ts';
import type { FusedWeights, Rule } from '../fused/rule.ts';
import { InputError } from '../network/errors.ts';
import type { Network, Node } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig, repMlpNet } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig, repVit } from '../reference/repvit.ts';
import type { InputSize } from '../reference/size.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { checkDyadic } from './dyadic.ts';
import { type Finding, TIERS, type Tier, type Verification, type VerifyRequest, verify } from './verify.ts';

const SEED = 11;

function smallRepVit(legacy: boolean, size: InputSize = { batch: 2, height: 48, width: 40 }): Network {
  return buildRepVit(completeRepVitConfig({ legacy, embed_dim: [8, 16], depth: [1, 1], num_classes: 7 }), size);
}

/** Maps of one window and of six, of which some change places. */
function smallRepMlpNet(): Network {
  const config = completeRepMlpNetConfig({
    channels: [4, 6],
    hs: [6, 1],
    ws: [8, 2],
    num_blocks: [1, 1],
    sharesets_nums: [2, 3],
    reparam_conv_k: [1, 3],
    num_class: 7,
  });
  return buildRepMlpNet(config, { batch: 2, height: 24, width: 32 });
}

const [official, complete] = deployForms(smallRepMlpNet());

/** Tiers that look at the weights given, in one way or another but column by column. */
const ON_WEIGHTS: readonly Tier[] = ['structure', 'weights', 'algebra', 'runtime', 'network'];

function request(fusion: Fusion, rest: Partial<VerifyRequest> = {}): VerifyRequest {
  return {
    fusion,
    weights: randomWeights(fusion.reference, SEED),
    input: randomInput(fusion.reference.nodes[0]?.shape ?? [], SEED),
    engines: [],
    probe: (shape, name) => randomInput(shape, SEED, name),
    tiers: ON_WEIGHTS,
    ...rest,
  };
}

/** For the exact tier. */
function miniatureOf({ reference }: Fusion): Fusion {
  if (reference.nodes.some(({ op }) => op.kind === 'setLinear')) {
    const { config, size } = repMlpNet.miniature(completeRepMlpNetConfig({ reparam_conv_k: [1, 3] }));
    return fuseTo(complete!, buildRepMlpNet(config, size));
  }
  const legacy = !reference.nodes.some(({ name }) => name.endsWith('token_mixer.bn'));
  const { config, size } = repVit.miniature(completeRepVitConfig({ legacy, embed_dim: [8, 16], depth: [1, 1] }));
  return fuse(buildRepVit(config, size));
}

const verdicts = ({ tiers }: Verification, tier: Tier) =>
  tiers.filter((summary) => summary.tier === tier).map(({ verdict }) => verdict);

/** What failed, where. */
const found = ({ failures }: Verification) =>
  failures.map(({ tier, piece, engine, form, input }) => ({ tier, piece, engine, form, input }));

let wasm: Engine;
let cpu: Engine;
beforeAll(async () => {
  [wasm, cpu] = await Promise.all([openEngine('wasm'), openEngine('cpu')]);
});

describe.each<[string, () => Fusion]>([
  ['RepViT', () => fuse(smallRepVit(false))],
  ['RepViT, legacy', () => fuse(smallRepVit(true))],
  ['RepMLPNet', () => fuseTo(complete!, smallRepMlpNet())],
  ['RepMLPNet, deploy-official', () => fuseTo(official, smallRepMlpNet())],
])('a small %s', (_name, fusionOf) => {
  test('passes in every tier, on two engines', async () => {
    const fusion = fusionOf();
    const before = [wasm, cpu].map((engine) => engine.liveTensors());
    const result = await verify(
      request(fusion, { engines: [wasm, cpu], tiers: TIERS, miniature: miniatureOf(fusion) }),
    );
    expect(result.failures).toEqual([]);
    expect(result.problems).toEqual([]);
    expect(result.verdict).toBe('pass');
    expect(new Set(result.tiers.map(({ tier }) => tier))).toEqual(new Set(TIERS));
    for (const { compared, verdict, worstRatio } of result.tiers) {
      expect({ verdict, something: compared > 0, within: worstRatio <= 1 }).toEqual({
        verdict: 'pass',
        something: true,
        within: true,
      });
    }
    const regions = fusion.regions.length;
    const inner = fusion.regions.flatMap((region) => region.inner);
    const others = fusion.network.nodes.length - 1 - regions - inner.length;
    const pieces = (tier: Tier) => result.tiers.filter((row) => row.tier === tier).map((row) => [row.form, row.pieces]);
    expect(pieces('algebra')).toEqual([[undefined, regions]]);
    expect(pieces('runtime').toSorted()).toEqual(
      [
        ['both', others],
        ['both', others],
        ['deploy', regions],
        ['deploy', regions],
        ['reference', regions],
        ['reference', regions],
      ].toSorted(),
    );
    expect([...result.logits.keys()]).toEqual(['wasm/reference', 'wasm/deploy', 'cpu/reference', 'cpu/deploy']);
    expect(result.network.map(({ logits }) => [logits.elements, logits.top1])).toEqual(
      Array.from({ length: 6 }, () => [14, 2]),
    );
    expect([wasm, cpu].map((engine) => engine.liveTensors())).toEqual(before);
  });
});

describe('without an engine', () => {
  test('nothing was run, which is no pass', async () => {
    const result = await verify(request(fuse(smallRepVit(false))));
    expect(result.verdict).toBe('nothing compared');
    expect(verdicts(result, 'algebra')).toEqual(['pass']);
    expect(verdicts(result, 'runtime')).toEqual(['nothing compared']);
    expect(result.problems).toEqual(['the runtime tier compared nothing: no engine was given']);
  });
});

const bytes = ({ data }: Tensor): string => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');

test.each([
  ['RepViT', () => fuse(smallRepVit(false))],
  ['RepMLPNet', () => fuseTo(complete!, smallRepMlpNet())],
])('leaves the networks, the weights and the input of %s as they are', async (_name, fusionOf) => {
  const fusion = fusionOf();
  const given = request(fusion, { engines: [wasm] });
  const reference = structuredClone(fusion.reference);
  const deploy = structuredClone(fusion.network);
  const weights = [...given.weights].map(([key, tensor]) => [key, bytes(tensor)]);
  const input = bytes(given.input);
  await verify(given);
  expect(fusion.reference).toEqual(reference);
  expect(fusion.network).toEqual(deploy);
  expect([...given.weights].map(([key, tensor]) => [key, bytes(tensor)])).toEqual(weights);
  expect(bytes(given.input)).toBe(input);
});

test('tells its progress, piece by piece', async () => {
  const told: [number, number, string][] = [];
  const fusion = fuse(smallRepVit(false));
  await verify(request(fusion, { onProgress: (...progress) => told.push(progress) }));
  const pieces = fusion.network.nodes.length - 1;
  expect(told.slice(0, pieces)).toEqual(fusion.network.nodes.slice(1).map(({ name }, i) => [i, pieces, name]));
});

/** The float32 next above: its bits plus one. */
function nextUp(value: number): number {
  const floats = Float32Array.of(value);
  const words = new Uint32Array(floats.buffer);
  words[0]! += 1;
  return floats[0]!;
}

function withElement(weights: Weights<Float32Array>, key: string, index: number, change: (value: number) => number) {
  const { shape, data } = weights.get(key)!;
  const changed = data.map((value, i) => (i === index ? change(value) : value));
  return new Map([...weights, [key, { shape, data: changed }]]);
}

const MIXER = 'stages.0.blocks.0.token_mixer';

describe('stored deploy weights', () => {
  const fusion = fuse(smallRepVit(false));
  const right = roundWeights(fuseWeights(fusion, randomWeights(fusion.reference, SEED)));

  test('of which one is off by one unit in the last place are named, with the element', async () => {
    const deployWeights = withElement(right, `${MIXER}.weight`, 31, nextUp);
    const result = await verify(request(fusion, { deployWeights, engines: [wasm] }));
    expect(result.verdict).toBe('fail');
    expect(found(result)).toEqual([
      { tier: 'weights', piece: MIXER, engine: undefined, form: undefined, input: undefined },
    ]);
    const [finding] = result.failures;
    expect(finding).toMatchObject({ key: `${MIXER}.weight`, shape: [8, 1, 3, 3], comparison: { failures: 1 } });
    const expected = right.get(`${MIXER}.weight`)!.data[31]!;
    expect(finding!.comparison.worst[0]).toMatchObject({ index: 31, expected, actual: nextUp(expected) });
  });

  test('that are right pass, given or not', async () => {
    const given = await verify(request(fusion, { deployWeights: right }));
    expect(given).toEqual(await verify(request(fusion)));
    expect(verdicts(given, 'weights')).toEqual(['pass']);
  });

  test('that are not numbers fail', async () => {
    const deployWeights = withElement(right, 'head.weight', 3, () => Number.NaN);
    const result = await verify(request(fusion, { deployWeights }));
    expect(result.failures[0]).toMatchObject({ tier: 'weights', piece: 'head', key: 'head.weight' });
    expect(verdicts(result, 'network')).toContain('fail');
  });

  test('that no rule makes are compared too', async () => {
    const deployWeights = withElement(right, 'stages.0.blocks.0.se.fc1.bias', 2, nextUp);
    const result = await verify(request(fusion, { deployWeights }));
    expect(result.failures[0]).toMatchObject({ tier: 'weights', rules: [], key: 'stages.0.blocks.0.se.fc1.bias' });
  });
});

/** A copy of every rule, in which `name` adds an error to each of its fused weights. */
function rulesWith(name: string, error: (index: number) => number): readonly Rule[] {
  return rules.map((rule) => {
    if (rule.name !== name) return rule;
    const match: Rule['match'] = (last, graph) => {
      const right = rule.match(last, graph);
      if (right === undefined) return undefined;
      const weights: FusedWeights = (field, read) => {
        const fused = right.weights(field, read);
        const weight = field.array(fused.weight!.length);
        for (let i = 0; i < weight.length; i++) {
          weight[i] = field.add(fused.weight![i]!, field.of(error(i)));
        }
        return { ...fused, weight };
      };
      return { ...right, weights };
    };
    return { ...rule, match };
  });
}

describe('a rule that fuses wrongly', () => {
  test('is named, with the reference nodes that it replaced', async () => {
    // The identity is left out: 1 is missing at the centre of each 3x3.
    const fusion = fuse(
      smallRepVit(false),
      rulesWith('repvggdw', (i) => (i % 9 === 4 ? -1 : 0)),
    );
    const result = await verify(request(fusion, { engines: [wasm] }));
    expect(result.verdict).toBe('fail');
    const mixers = fusion.regions.filter((region) => region.rules.includes('repvggdw')).map(({ deploy }) => deploy);
    expect(mixers).toContain(MIXER);
    expect(found(result)).toEqual(
      mixers.map((piece) => ({ tier: 'algebra', piece, engine: undefined, form: undefined, input: 'own' })),
    );
    const nodes = ['conv.c', 'conv.bn', 'conv1', 'add', 'bn'].map((node) => `${MIXER}.${node}`);
    expect(result.failures[0]).toMatchObject({
      piece: MIXER,
      rules: ['conv-batch-norm', 'repvggdw', 'conv-batch-norm'],
      reference: nodes,
      shape: [2, 8, 12, 10],
    });
    expect(result.tiers.find(({ tier }) => tier === 'algebra')).toMatchObject({ verdict: 'fail', worstPiece: MIXER });
  });

  test('is judged by a bound that counts both forms and the roundings of the fused weights', async () => {
    const fusion = fuse(
      smallRepVit(false),
      rulesWith('conv-batch-norm', (i) => (i === 0 ? 1 : 0)),
    );
    const result = await verify(request(fusion, { only: 'stem.conv1' }));
    // 3x3 taps of 3 channels and a sum or bias, the batch norm's 8; the deploy form's taps and bias; 5; the bound's own.
    expect(result.failures.map(({ operations }) => operations)).toEqual([27 + 1 + 8 + (27 + 1) + 5 + 1]);
  });

  test('in an outer tap is seen on a 1x1 map, thanks to the probe', async () => {
    const network = smallRepVit(false, { batch: 2, height: 5, width: 5 });
    const last = 'stages.1.blocks.0.token_mixer';
    const fusion = fuse(
      network,
      rulesWith('repvggdw', (i) => (i % 9 === 0 ? 0.25 : 0)),
    );
    expect(fusion.network.nodes.find(({ name }) => name === last)?.shape).toEqual([2, 16, 1, 1]);
    const result = await verify(request(fusion, { only: last }));
    expect(found(result)).toEqual([
      { tier: 'algebra', piece: last, engine: undefined, form: undefined, input: 'probe' },
    ]);
    expect(result.failures[0]).toMatchObject({ shape: [1, 16, 5, 5] });
  });
});

test('no rule at all: nothing was fused, and the structure tier says so', async () => {
  const network = smallRepVit(false);
  const result = await verify(request(fuse(network, []), { engines: [wasm] }));
  expect(result.verdict).toBe('fail');
  expect(verdicts(result, 'structure')).toEqual(['fail']);
  expect(verdicts(result, 'algebra')).toEqual(['nothing compared']);
  const norms = network.nodes.filter(({ op }) => op.kind === 'batchNorm');
  expect(result.problems).toEqual(
    expect.arrayContaining([
      ...norms.map(({ name }) => `${name} is a batch norm that was not folded`),
      'the algebra tier compared nothing: no piece has any',
    ]),
  );
});

type Tampered = (output: Tensor<Float32Array>, inputs: EngineInputs) => Tensor<Float32Array>;

/** An engine that spoils its output wherever the network's own output has the given name. */
function spoilt(engine: Engine, output: string, tamper: Tampered): Engine {
  return {
    ...engine,
    async load(network, weights) {
      const loaded = await engine.load(network, weights);
      if (network.output !== output) return loaded;
      return {
        run: async (inputs) => tamper(await loaded.run(inputs), inputs),
        dispose: () => loaded.dispose(),
      };
    },
  };
}

const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const onData =
  (change: (data: Float32Array, inputs: EngineInputs) => Float32Array): Tampered =>
  ({ shape, data }, inputs) => ({ shape, data: change(data, inputs) });

const ACT = 'stages.0.blocks.0.channel_mixer.act';

describe('the basis tier', () => {
  const fusion = fuse(smallRepVit(false));
  const right = roundWeights(fuseWeights(fusion, randomWeights(fusion.reference, SEED)));
  const off = withElement(right, `${MIXER}.weight`, 31, nextUp);

  test('demands correct rounding of the weights that fuseproof makes', async () => {
    const result = await verify(request(fusion, { tiers: ['basis'] }));
    expect(result).toMatchObject({ verdict: 'pass', failures: [], problems: [] });
    const [summary] = result.tiers.filter(({ tier }) => tier === 'basis');
    const weights = [...right.values()].reduce((sum, { data }) => sum + data.length, 0);
    expect(summary).toMatchObject({ rounding: { inFloat32: 0, worstUlps: 0.5 } });
    // Each weight at least once; those of a padded convolution at every place of the map.
    expect(summary!.compared).toBeGreaterThanOrEqual(weights);
  });

  test('finds a weight of a node that fusing leaves alone, too', async () => {
    const key = 'stages.0.blocks.0.se.fc1.weight';
    const result = await verify(
      request(fusion, { deployWeights: withElement(right, key, 3, nextUp), tiers: ['basis'] }),
    );
    expect(result.failures).toMatchObject([{ tier: 'basis', rules: [], key, comparison: { failures: 1 } }]);
  });

  test('has no mercy on a fuser of ours that is off by two units in the last place', async () => {
    const rounded = fuse(
      smallRepVit(false),
      rulesWith('conv-batch-norm', (i) => (i === 0 ? 2 ** -25 : 0)),
    );
    const result = await verify(request(rounded, { tiers: ['basis'] }));
    expect(result.verdict).toBe('fail');
    expect(result.failures.some(({ roundedInFloat32 }) => roundedInFloat32 === true)).toBe(true);
  });

  test('lets given weights pass as fused in float32, and names the one that is not correctly rounded', async () => {
    const result = await verify(request(fusion, { deployWeights: off, tiers: ['basis'] }));
    expect(result.verdict).toBe('pass');
    const rounding = result.tiers.find(({ tier }) => tier === 'basis')?.rounding;
    expect(rounding).toMatchObject({ worstWeight: `${MIXER}.weight[3, 0, 1, 1]` });
    expect(rounding!.inFloat32).toBeGreaterThan(0);
  });

  test('names a weight that no rounding explains', async () => {
    const deployWeights = withElement(right, `${MIXER}.weight`, 31, (value) => value * (1 + 2 ** -16));
    const result = await verify(request(fusion, { deployWeights, tiers: ['basis'] }));
    expect(result.verdict).toBe('fail');
    expect(result.failures).toHaveLength(1);
    expect(result.failures[0]).toMatchObject({
      tier: 'basis',
      piece: MIXER,
      key: `${MIXER}.weight`,
      shape: [8, 1, 3, 3],
    });
    expect(result.failures[0]!.comparison.worst.map(({ index }) => index)).toEqual([31]);
  });
});

test('forms that do not fit together are a failure of the structure, and nothing is compared by region', async () => {
  const fusion = fuse(smallRepVit(false));
  const nodes = fusion.network.nodes.flatMap((node): Node[] => {
    if (node.name === 'stem.act1') return [];
    return [{ ...node, inputs: node.inputs.map((input) => (input === 'stem.act1' ? 'stem.conv1' : input)) } as Node];
  });
  const broken = { ...fusion, network: { ...fusion.network, nodes } };
  const result = await verify(request(broken, { engines: [wasm], tiers: TIERS, miniature: miniatureOf(fusion) }));
  expect(result.verdict).toBe('fail');
  expect(verdicts(result, 'structure')).toEqual(['fail']);
  for (const tier of ['basis', 'weights', 'algebra', 'dyadic', 'runtime'] as const) {
    expect(verdicts(result, tier)).toEqual(['nothing compared']);
  }
  expect(result.problems).toContain('stem.act1 is consumed 0 times, not once');
  expect(result.problems).toContain('the basis tier compared nothing: the forms have no regions in common');
});

describe('an engine that', () => {
  const fusion = fuse(smallRepVit(false));
  const swapChannels = onData((data) => {
    const area = 24 * 20; // of channels 0 and 1 of the stem's first map
    return Float32Array.of(...data.subarray(area, 2 * area), ...data.subarray(0, area), ...data.subarray(2 * area));
  });
  const forms = (piece: string, ...names: string[]) =>
    names.map((form) => ({ tier: 'runtime', piece, engine: 'wasm', form, input: 'own' }));

  test.each<[string, string, Tampered, readonly object[]]>([
    [
      'computes the tanh form of GELU',
      ACT,
      onData((_data, inputs) => [...inputs.values()][0]!.data.map(tanhGelu)),
      forms(ACT, 'both'),
    ],
    ['swaps two channels of the deploy form', 'stem.conv1', swapChannels, forms('stem.conv1', 'deploy')],
    ['swaps two channels of the reference form', 'stem.conv1.bn', swapChannels, forms('stem.conv1', 'reference')],
    [
      'returns one NaN',
      MIXER,
      onData((data) => data.map((value, i) => (i === 77 ? Number.NaN : value))),
      forms(MIXER, 'deploy'),
    ],
    ['returns a value too few', MIXER, onData((data) => data.slice(1)), forms(MIXER, 'deploy')],
    [
      'is off by a thousandth in one element',
      MIXER,
      onData((data) => data.map((value, i) => (i === 5 ? value * 1.001 : value))),
      forms(MIXER, 'deploy'),
    ],
    [
      'throws',
      MIXER,
      () => {
        throw new Error('out of memory');
      },
      forms(MIXER, 'deploy'),
    ],
  ])('%s is caught where it does', async (_name, node, tamper, findings) => {
    const before = wasm.liveTensors();
    const result = await verify(request(fusion, { engines: [spoilt(wasm, node, tamper)] }));
    expect(result.verdict).toBe('fail');
    expect(found(result)).toEqual(findings);
    expect(wasm.liveTensors()).toBe(before);
  });

  test('throws is quoted', async () => {
    const broken = spoilt(wasm, MIXER, () => {
      throw new Error('out of memory');
    });
    const { failures } = await verify(request(fusion, { engines: [broken] }));
    expect(failures[0]?.comparison).toMatchObject({ verdict: 'fail', compared: 0, reason: 'out of memory' });
  });

  test('refuses a node by design is inconclusive, in the piece and in the networks', async () => {
    const refusing: Engine = {
      ...wasm,
      async load(network, weights) {
        if (network.nodes.some(({ name }) => name === ACT)) throw new UnsupportedOp('no gelu here');
        return wasm.load(network, weights);
      },
    };
    const result = await verify(request(fusion, { engines: [refusing, cpu] }));
    expect(result.verdict).toBe('inconclusive');
    // Where the node is an input of the piece its value is given, but this engine looks at names.
    expect(
      result.failures.every(({ engine, comparison }) => engine === 'wasm' && comparison.reason === 'no gelu here'),
    ).toBe(true);
    expect(result.failures[0]?.piece).toBe(ACT);
    expect(result.tiers.filter(({ verdict }) => verdict === 'inconclusive').map(({ engine }) => engine)).not.toContain(
      'cpu',
    );
    expect(result.problems).toEqual(['no gelu here']);
  });

  test('returns infinities for the whole network fails, though every piece is right', async () => {
    const infinite: Engine = {
      ...wasm,
      async load(network, weights) {
        const loaded = await wasm.load(network, weights);
        if (network.nodes.length < 10) return loaded;
        return {
          run: async (inputs) => {
            const { shape, data } = await loaded.run(inputs);
            return { shape, data: data.map(() => Number.POSITIVE_INFINITY) };
          },
          dispose: () => loaded.dispose(),
        };
      },
    };
    const result = await verify(request(fusion, { engines: [infinite] }));
    expect(result.failures).toEqual([]);
    expect(result.verdict).toBe('fail');
    expect(result.problems).toEqual([
      "wasm's logits of the reference form are not all finite",
      "wasm's logits of the deploy form are not all finite",
    ]);
  });
});

describe('an engine of another precision', () => {
  const fusion = fuse(smallRepVit(false));
  /** Rounds as float16 does: 11 bits. */
  const half = (value: number) => {
    const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 10);
    return value === 0 ? 0 : Math.round(value / unit) * unit;
  };
  const rounding = (precision: Engine['info']['precision']): Engine => ({
    ...wasm,
    info: { ...wasm.info, precision },
    async load(network, weights) {
      const loaded = await wasm.load(network, weights);
      return {
        run: async (inputs) => {
          const { shape, data } = await loaded.run(inputs);
          return { shape, data: data.map(half) };
        },
        dispose: () => loaded.dispose(),
      };
    },
  });
  const runtimeOf = async (precision: Engine['info']['precision']) =>
    verify(request(fusion, { engines: [rounding(precision)], tiers: ['runtime', 'dyadic'] }));

  test('that it states is held to its own bound', async () => {
    const result = await runtimeOf({ ...wasm.info.precision!, unitRoundoff: 2 ** -11 });
    expect(new Set(verdicts(result, 'runtime'))).toEqual(new Set(['pass']));
    // Nothing is sure to be exact in eleven bits.
    expect(verdicts(result, 'dyadic')).not.toContain('fail');
  });

  test('that it does not state fails by the one that it claims', async () => {
    expect(verdicts(await runtimeOf(wasm.info.precision), 'runtime')).toContain('fail');
  });

  test('that it cannot state is inconclusive, never a pass', async () => {
    const result = await runtimeOf(undefined);
    expect(result.verdict).toBe('inconclusive');
    expect(new Set(verdicts(result, 'runtime'))).toEqual(new Set(['inconclusive']));
    expect(new Set(verdicts(result, 'dyadic'))).toEqual(new Set(['inconclusive']));
    expect(result.failures[0]?.comparison.reason).toBe('the engine states no precision, so there is no bound');
  });
});

describe('a network whose oracle overflows', () => {
  test('is inconclusive in the algebra tier from there on, and no engine is blamed', async () => {
    const fusion = fuse(smallRepVit(false));
    const weights = new Map(
      [...randomWeights(fusion.reference, SEED)].map(([key, { shape, data }]) => [
        key,
        { shape, data: Float64Array.from(data, (value) => (key === 'stem.conv2.c.weight' ? value * 1e308 : value)) },
      ]),
    );
    const input = { ...request(fusion).input, data: request(fusion).input.data.map((value) => value * 2 ** 40) };
    const result = await verify(request(fusion, { weights, input, engines: [wasm] }));
    const inconclusive = result.failures.filter(({ comparison }) => comparison.verdict === 'inconclusive');
    expect(inconclusive[0]).toMatchObject({
      tier: 'algebra',
      piece: 'stem.conv2',
      comparison: { compared: 0, reason: "the oracle's own value is not finite" },
    });
    expect(verdicts(result, 'algebra')).toEqual(['inconclusive']);
    expect(result.failures.filter(({ comparison }) => comparison.verdict === 'fail')).toEqual([]);
    expect(result.verdict).not.toBe('pass');
  });
});

describe('only', () => {
  test.each<[Tier, string]>([
    ['network', MIXER],
    ['exact', MIXER],
  ])('a tier that has nothing to say of one region, %s, is no pass', async (tier, only) => {
    const result = await verify(request(fuse(smallRepVit(false)), { engines: [wasm], only, tiers: [tier] }));
    expect(result.verdict).toBe('nothing compared');
    expect(result.problems).toEqual([`the ${tier} tier compared nothing: it has nothing to say of ${only} alone`]);
  });

  test('a region that is like an earlier one is run all the same, in the dyadic tier', async () => {
    const only = 'stages.1.blocks.0.channel_mixer.conv1';
    const result = await verify(request(fuse(smallRepVit(false)), { engines: [wasm], only, tiers: ['dyadic'] }));
    expect(result.verdict).toBe('pass');
    expect(verdicts(result, 'dyadic')).toEqual(['pass', 'pass']);
  });

  test('replays one region, with the same findings', async () => {
    const fusion = fuse(
      smallRepVit(false),
      rulesWith('repvggdw', (i) => (i % 9 === 4 ? -1 : 0)),
    );
    const engines = [
      spoilt(
        wasm,
        MIXER,
        onData((data) => data.map((value) => value * 1.001)),
      ),
    ];
    const whole = await verify(request(fusion, { engines }));
    const replay = await verify(request(fusion, { engines, only: MIXER }));
    const ofMixer = (findings: readonly Finding[]) => findings.filter(({ piece }) => piece === MIXER);
    expect(replay.failures).toEqual(ofMixer(whole.failures));
    expect(replay.failures.map(({ tier }) => tier)).toEqual(['algebra', 'runtime']);
    expect(replay.network).toEqual([]);
  });

  test.each([MIXER, 'stages.0.blocks.0.channel_mixer.act', 'head'])('passes on %s where all is well', async (only) => {
    // Asked for by name, a tier that has nothing to say of the region would be no pass.
    const { tiers: _, ...every } = request(fuse(smallRepVit(true)), { engines: [wasm], only });
    expect(await verify(every)).toMatchObject({ verdict: 'pass', failures: [], problems: [] });
  });

  test.each(['nowhere', 'input', `${MIXER}.conv.c`])('refuses %s, which is no deploy node', async (only) => {
    const replay = verify(request(fuse(smallRepVit(false)), { engines: [wasm], only }));
    await expect(replay).rejects.toThrow(InputError);
    await expect(replay).rejects.toThrow(`${only} is no region of repvit's deploy form`);
  });
});

test('the dyadic tier leaves nothing open of repvit_m2_3, the widest', async () => {
  const { config, resolution } = repVit.variants.find(({ name }) => name === 'repvit_m2_3')!;
  const train = repVit.build(config, { batch: 1, height: resolution, width: resolution });
  const findings = await checkDyadic(fuseTo(deployForms(train)[0], train), [await openEngine('onnxruntime')], 1);
  expect(findings.filter(({ comparison }) => comparison.verdict !== 'pass')).toEqual([]);
  expect(findings.length).toBeGreaterThan(50);
});
