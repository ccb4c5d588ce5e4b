import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse, fuseWeights, roundWeights } from '../fused/fuse.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, OpOf } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { randomWeights } from '../weights/random.ts';
import { checkBasis, type Demand } from './basis.ts';
import { isFused, type Piece, pieces } from './pieces.ts';

const SEED = 5;
const norm = { kind: 'batchNorm', eps: 1e-5 } as const;
const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 2],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: true,
};

/** conv -> bn on a map of two channels. */
function convNorm(op: Partial<OpOf<'conv2d'>>): Network {
  const builder = new NetworkBuilder('conv-norm');
  const convolved = builder.add('m.c', { ...conv, ...op }, [builder.input('input', [2, 2, 9, 8])]);
  return builder.build(builder.add('m.bn', norm, [convolved]));
}

/** bn -> conv, of two groups. */
function normConv(): Network {
  const builder = new NetworkBuilder('norm-conv');
  const normed = builder.add('m.bn', norm, [builder.input('input', [1, 6, 5, 5])]);
  return builder.build(builder.add('m.c', { ...conv, groups: 2 }, [normed]));
}

/** bn -> pool -> layer. */
function normPool(layer: 'linear' | 'conv2d'): Network {
  const builder = new NetworkBuilder('norm-pool');
  const normed = builder.add('m.bn', norm, [builder.input('input', [2, 3, 5, 4])]);
  const pooled = builder.add('m.pool', { kind: 'globalAvgPool', keepDims: layer === 'conv2d' }, [normed]);
  const op = layer === 'conv2d' ? { ...conv, kernel: [1, 1] as const } : { kind: layer, outFeatures: 4, bias: true };
  return builder.build(builder.add('m.l', op as typeof conv, [pooled]));
}

function repVit(legacy: boolean): Network {
  const config = completeRepVitConfig({ legacy, embed_dim: [4, 6], depth: [1, 1], num_classes: 3 });
  return buildRepVit(config, { batch: 1, height: 16, width: 16 });
}

/** Oblong windows: one to a map, and four, of which some change places. */
function repMlpNet(): Network {
  const config = completeRepMlpNetConfig({
    channels: [4, 6],
    hs: [2, 1],
    ws: [3, 3],
    num_blocks: [1, 1],
    sharesets_nums: [2, 3],
    reparam_conv_k: [1, 3],
    num_class: 3,
  });
  return buildRepMlpNet(config, { batch: 2, height: 16, width: 24 });
}

const fusions: readonly (readonly [string, () => Fusion])[] = [
  ['a convolution', () => fuse(convNorm({}))],
  ['a padded convolution', () => fuse(convNorm({ padding: [1, 1] }))],
  ['a strided convolution', () => fuse(convNorm({ stride: [2, 3], padding: [1, 0] }))],
  ['a dilated convolution', () => fuse(convNorm({ dilation: [2, 3], padding: [2, 1] }))],
  ['a depthwise convolution', () => fuse(convNorm({ outChannels: 2, groups: 2, padding: [1, 0] }))],
  ['a grouped convolution of more outputs', () => fuse(convNorm({ groups: 2, bias: false }))],
  ['a convolution behind a batch norm', () => fuse(normConv())],
  ['a pooled linear', () => fuse(normPool('linear'))],
  ['a pooled convolution', () => fuse(normPool('conv2d'))],
  ['RepViT', () => fuse(repVit(false))],
  ['RepViT, legacy', () => fuse(repVit(true))],
  ...['deploy-official', 'deploy'].map(
    (name, i) => [`RepMLPNet, ${name}`, () => fuseTo(deployForms(repMlpNet())[i]!, repMlpNet())] as const,
  ),
];

/** The float32 next above: its bits plus one. */
function nextUp(value: number): number {
  const floats = Float32Array.of(value);
  new Uint32Array(floats.buffer)[0]! += 1;
  return floats[0]!;
}

function withElement(weights: Weights<Float32Array>, key: string, index: number, change: (value: number) => number) {
  const { shape, data } = weights.get(key)!;
  const changed: Tensor<Float32Array> = { shape, data: data.map((value, i) => (i === index ? change(value) : value)) };
  return new Map([...weights, [key, changed]]);
}

function subjectOf(fusion: Fusion) {
  const weights = randomWeights(fusion.reference, SEED);
  const stored = roundWeights(fuseWeights(fusion, weights));
  const fused = pieces(fusion).filter(isFused);
  const check = (piece: Piece, changed: Weights = stored, demand?: Demand) =>
    checkBasis(piece, weights, changed, demand);
  return { weights, stored, fused, check };
}

/** Keys of the weights of a piece's deploy node. */
const keysOf = ({ deploy }: Piece): readonly string[] => deploy.nodes.flatMap(({ weights }) => Object.values(weights));

describe.each(fusions)('%s', (_name, fusionOf) => {
  test('passes, each of its weights correctly rounded', () => {
    const { stored, fused, check } = subjectOf(fusionOf());
    expect(fused.length).toBeGreaterThan(0);
    for (const piece of fused) {
      const findings = check(piece);
      const weights = keysOf(piece).reduce((sum, key) => sum + stored.get(key)!.data.length, 0);
      expect(findings).toHaveLength(1);
      const { comparison, rounding } = findings[0]!;
      expect(comparison).toMatchObject({ verdict: 'pass', failures: 0, worstRatio: 0, worst: [] });
      expect(comparison.compared).toBeGreaterThanOrEqual(weights);
      expect(rounding).toEqual({ correctly: comparison.compared, inFloat32: 0, worstUlps: 0.5 });
    }
  });

  test('with any one weight off by a unit in the last place, names that weight', () => {
    const { stored, fused, check } = subjectOf(fusionOf());
    let weights = 0;
    const named = (piece: Piece, key: string, index: number) =>
      check(piece, withElement(stored, key, index, nextUp)).map(({ comparison, ...finding }) => ({
        key: finding.key,
        roundedInFloat32: finding.roundedInFloat32,
        verdict: comparison.verdict,
        worst: comparison.worst.map((difference) => [
          difference.index,
          difference.actual,
          Math.fround(difference.expected),
          Math.abs(difference.actual - difference.expected) / difference.bound === difference.ratio,
        ]),
      }));
    for (const piece of fused) {
      for (const key of keysOf(piece)) {
        const { length } = stored.get(key)!.data;
        // Every one of small tensors; of larger ones one in five, so that every row and column is met.
        for (let index = 0; index < length; index += length > 24 ? 5 : 1, weights++) {
          const own = stored.get(key)!.data[index]!;
          const worst = [[index, nextUp(own), own, true]];
          expect(named(piece, key, index)).toEqual([{ key, roundedInFloat32: true, verdict: 'fail', worst }]);
        }
      }
    }
    expect(weights).toBeGreaterThan(10);
  });
});

describe('stored weights', () => {
  /** A padded convolution: `off` is one of its taps, by a unit in the last place. */
  const padded = () => {
    const { stored, fused, check } = subjectOf(fuse(convNorm({ padding: [1, 1] })));
    const piece = fused[0]!;
    return { stored, piece, check, off: withElement(stored, 'm.weight', 17, nextUp), clean: check(piece)[0]! };
  };

  test('that rounding in float32 explains pass where that is asked for, and the worst one is named', () => {
    const { piece, check, off, clean } = padded();
    const [finding, ...others] = check(piece, off, 'fused in float32');
    expect(others).toEqual([]);
    const { comparison, rounding } = finding!;
    expect(comparison).toEqual({
      verdict: 'pass',
      compared: clean.comparison.compared,
      failures: 0,
      worstRatio: 0,
      worst: [],
    });
    expect(rounding.worstWeight).toBe('m.weight[1, 0, 2, 1]');
    expect(rounding.worstUlps).toBeGreaterThan(0.5);
    expect(rounding.worstUlps).toBeLessThanOrEqual(1.5);
    expect(rounding.correctly + rounding.inFloat32).toBe(comparison.compared);
    expect(rounding.inFloat32).toBeGreaterThan(0);
  });

  test.each(['correctly rounded', 'fused in float32'] as const)(
    'that no rounding explains fail, where %s is asked for',
    (demand) => {
      const { piece, check, off, clean } = padded();
      const wrong = withElement(off, 'm.weight', 5, (value) => value * (1 + 2 ** -12));
      const findings = check(piece, wrong, demand);
      expect(findings).toHaveLength(1);
      const { key, shape, roundedInFloat32, rounding, comparison } = findings[0]!;
      expect({ key, shape, roundedInFloat32 }).toEqual({
        key: 'm.weight',
        shape: [4, 2, 3, 2],
        roundedInFloat32: false,
      });
      // From the first one that no rounding explains on, only such are shown.
      expect(comparison.worst.map(({ index }) => index)).toEqual([5]);
      expect(comparison.compared).toBe(clean.comparison.compared);
      expect(comparison.worstRatio).toBe(comparison.worst[0]!.ratio);
      expect(comparison.worstRatio).toBeGreaterThan(1);
      const strict = demand === 'correctly rounded';
      expect(comparison.failures > comparison.compared - rounding.correctly - rounding.inFloat32).toBe(strict);
      expect(rounding.worstWeight).toBe('m.weight[0, 0, 2, 1]');
    },
  );

  test('that are wrong are shown worst first, five at most, each once', () => {
    const { stored, piece, check } = padded();
    let wrong = stored;
    // Neither up nor down; each by far more than the one before it.
    const order = [3, 6, 0, 5, 1, 4, 2];
    order.forEach((power, i) => {
      wrong = withElement(wrong, 'm.weight', i, (value) => value + 2 ** (6 * power - 24));
    });
    const [finding, ...others] = check(piece, wrong);
    expect(others).toEqual([]);
    const { worst, worstRatio } = finding!.comparison;
    expect(worst.map(({ index }) => index)).toEqual([6, 5, 4, 3, 2].map((power) => order.indexOf(power)));
    expect(worst.map(({ ratio }) => ratio)).toEqual(worst.map(({ ratio }) => ratio).toSorted((a, b) => b - a));
    expect(worstRatio).toBe(worst[0]!.ratio);
    for (const { index, actual, expected, bound, ratio } of worst) {
      expect(actual).toBe(wrong.get('m.weight')!.data[index]);
      expect(Math.fround(expected)).toBe(stored.get('m.weight')!.data[index]);
      expect(ratio).toBe(Math.abs(actual - expected) / bound);
    }
  });

  test('of several tensors that are wrong are several findings, whose elements are counted once', () => {
    const { piece, check, off, clean } = padded();
    const findings = check(piece, withElement(off, 'm.bias', 2, nextUp));
    expect(findings.map(({ key }) => key).toSorted()).toEqual(['m.bias', 'm.weight']);
    const [first, second] = findings;
    expect(first!.comparison.compared).toBe(clean.comparison.compared);
    expect(second!.comparison.compared).toBe(second!.comparison.failures);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('that are %s fail, infinitely far', (value) => {
    const { stored, piece, check } = padded();
    for (const demand of ['correctly rounded', 'fused in float32'] as const) {
      const [finding] = check(
        piece,
        withElement(stored, 'm.weight', 9, () => value),
        demand,
      );
      expect(finding).toMatchObject({ key: 'm.weight', roundedInFloat32: false });
      expect(finding!.comparison).toMatchObject({ verdict: 'fail', worstRatio: Number.POSITIVE_INFINITY });
      expect(finding!.comparison.worst.map(({ index }) => index)).toEqual([9]);
    }
  });
});

test('trained weights that are not finite are inconclusive', () => {
  const fusion = fuse(convNorm({}));
  const weights = randomWeights(fusion.reference, SEED);
  const stored = roundWeights(fuseWeights(fusion, weights));
  const [piece] = pieces(fusion).filter(isFused);
  const [finding, ...others] = checkBasis(
    piece!,
    withElement(weights, 'm.c.weight', 3, () => Number.POSITIVE_INFINITY),
    stored,
  );
  expect(others).toEqual([]);
  const [clean] = checkBasis(piece!, weights, stored);
  const { compared } = clean!.comparison;
  expect(finding!.comparison).toMatchObject({ verdict: 'inconclusive', compared, reason: '1 values are not finite' });
});

test('weights that are missing are no finding', () => {
  const { fused, weights } = subjectOf(fuse(convNorm({})));
  expect(() => checkBasis(fused[0]!, weights, new Map())).toThrow();
});

test('a region of zeros, as pruning leaves it, is compared probe by probe', () => {
  const fusion = fuse(convNorm({ bias: false }));
  const weights = new Map(
    [...randomWeights(fusion.reference, SEED)].map(([key, { shape, data }]) => [
      key,
      { shape, data: data.map((v) => (key.endsWith('var') ? v : 0)) },
    ]),
  );
  const [piece] = pieces(fusion).filter(isFused);
  const [finding, ...others] = checkBasis(piece!, weights, roundWeights(fuseWeights(fusion, weights)));
  expect(others).toEqual([]);
  expect(finding!.comparison).toMatchObject({ verdict: 'pass', failures: 0, worst: [] });
  expect(finding!.comparison.compared).toBeGreaterThan(1);
});

/** One convolution of `input` as both forms' only node. */
function single(name: string, op: OpOf<'conv2d'>, shape: readonly number[] = [1, 2, 7, 7]): Network {
  const builder = new NetworkBuilder(name);
  return builder.build(builder.add(name, op, [builder.input('input', shape)]));
}

const pieceOf = (reference: Network, deploy: Network): Piece => ({
  name: deploy.output,
  rules: ['made up'],
  reference,
  deploy,
  inputs: new Map([['input', 'input']]),
});

describe('a deploy node that', () => {
  const five = { ...conv, kernel: [5, 5], padding: [2, 2] } as const;

  test('has no weight where the reference has an effect fails, with the element', () => {
    const reference = single('trained', five);
    const three = single('fused', { ...conv, kernel: [3, 3], padding: [1, 1] });
    const weights = randomWeights(reference, SEED);
    const kernel = weights.get('trained.weight')!.data;
    // The inner taps are right; the outer ones are nowhere.
    const inner = Float32Array.from({ length: 4 * 2 * 9 }, (_, i) => {
      const [plane, row, column] = [Math.floor(i / 9), Math.floor(i / 3) % 3, i % 3];
      return kernel[plane * 25 + (row + 1) * 5 + column + 1]!;
    });
    const stored = new Map([
      ['fused.weight', { shape: [4, 2, 3, 3], data: inner }],
      ['fused.bias', weights.get('trained.bias')!],
    ]);
    const [finding, ...others] = checkBasis(pieceOf(reference, three), weights, stored);
    expect(others).toEqual([]);
    expect(finding).not.toHaveProperty('key');
    expect(finding!.rounding.worstWeight).toMatch(/^no weight\[/);
    expect(finding!.comparison).toMatchObject({
      verdict: 'fail',
      reason: 'the reference has an effect where the deploy form has no weight',
    });
    expect(finding!.comparison.worst.map(({ actual }) => actual)).toEqual([0, 0, 0, 0, 0]);
  });

  test('gives maps of another size fails, with both shapes', () => {
    const reference = single('trained', five);
    const deploy = single('fused', { ...five, padding: [1, 2] });
    const [finding, ...others] = checkBasis(
      pieceOf(reference, deploy),
      randomWeights(reference, SEED),
      randomWeights(deploy, SEED),
    );
    expect(others).toEqual([]);
    expect(finding!.comparison).toMatchObject({
      verdict: 'fail',
      compared: 0,
      reason: "fused: the output has the shape [1, 4, 5, 7]; the reference's has [1, 4, 7, 7]",
    });
  });

  test('fits the own map of the piece alone, or the probes alone, fails', () => {
    // Of 8 rows and of 7 a stride of 2 makes 4.
    const reference = single('trained', { ...conv, kernel: [1, 1], stride: [2, 2] }, [1, 2, 7, 7]);
    const deploy = single('fused', { ...conv, kernel: [2, 2], stride: [2, 2], padding: [1, 1] }, [1, 2, 7, 7]);
    const weights = randomWeights(reference, SEED);
    expect(
      checkBasis(pieceOf(reference, deploy), weights, randomWeights(deploy, SEED)).map(
        ({ comparison }) => comparison.verdict,
      ),
    ).toContain('fail');
  });

  test('stands for what is no affine map is inconclusive', () => {
    const builder = new NetworkBuilder('active');
    const convolved = builder.add('c', conv, [builder.input('input', [1, 2, 7, 7])]);
    const reference = builder.build(builder.add('act', { kind: 'relu' }, [convolved]));
    const deploy = single('fused', conv);
    const [finding, ...others] = checkBasis(
      pieceOf(reference, deploy),
      randomWeights(reference, SEED),
      randomWeights(deploy, SEED),
    );
    expect(others).toEqual([]);
    expect(finding).toEqual({
      shape: [],
      operations: 0,
      rounding: { correctly: 0, inFloat32: 0, worstUlps: 0.5 },
      comparison: {
        verdict: 'inconclusive',
        compared: 0,
        failures: 0,
        worstRatio: 0,
        worst: [],
        reason: expect.stringContaining('relu'),
      },
    });
    expect(finding!.rounding).not.toHaveProperty('worstWeight');
  });

  test('reads columns where the reference reads rows fails, with the very same weights', () => {
    const reference = single('trained', { ...conv, kernel: [3, 1], padding: [1, 0] });
    const deploy = single('fused', { ...conv, kernel: [1, 3], padding: [0, 1] });
    const weights = randomWeights(reference, SEED);
    const { data } = weights.get('trained.weight')!;
    const stored = new Map([
      ['fused.weight', { shape: [4, 2, 1, 3], data }],
      ['fused.bias', weights.get('trained.bias')!],
    ]);
    const findings = checkBasis(pieceOf(reference, deploy), weights, stored);
    // Beside the centres, a weight where there should be none and none where there should be one.
    expect(findings.map(({ key }) => key).toSorted()).toEqual(['fused.weight', undefined]);
    for (const { comparison } of findings) expect(comparison.verdict).toBe('fail');
    const named = findings.find(({ key }) => key !== undefined)!;
    expect(named.comparison).not.toHaveProperty('reason');
  });
});

/** One 1x1 convolution of one channel in either form: its only weight as trained and as stored. */
function oneWeight(trained: number, storedAs: number, demand?: Demand) {
  const pixel = { ...conv, outChannels: 1, kernel: [1, 1], bias: false } as const;
  const [reference, deploy] = [single('trained', pixel, [1, 1, 2, 2]), single('fused', pixel, [1, 1, 2, 2])];
  const tensor = (value: number) => ({ shape: [1, 1, 1, 1], data: Float64Array.of(value) });
  const findings = checkBasis(
    pieceOf(reference, deploy),
    new Map([['trained.weight', tensor(trained)]]),
    new Map([['fused.weight', tensor(storedAs)]]),
    demand,
  );
  expect(findings).toHaveLength(1);
  const { comparison, rounding, operations } = findings[0]!;
  return { verdict: comparison.verdict, rounding, operations };
}

describe('a weight that lies between two floats', () => {
  const [low, high] = [1, 1 + 2 ** -23];
  const middle = 1 + 2 ** -24;

  test.each<[string, number, number, number]>([
    ['in the middle, rounded down', middle, low, 1],
    ['in the middle, rounded up', middle, high, 1],
    ['beside the middle by what float64 may have rounded', middle - 2 ** -52, high, 1],
    ['small, in the middle', middle, high, 2 ** -20],
  ])('%s, is correctly rounded', (_name, trained, storedAs, scale) => {
    expect(oneWeight(trained * scale, storedAs * scale)).toMatchObject({
      verdict: 'pass',
      rounding: { correctly: 1, inFloat32: 0, worstUlps: 0.5 },
    });
  });

  test.each([1, 2 ** -20, 2 ** 20])('nearer to the other one is not, at the scale of %d', (scale) => {
    const trained = (middle - 2 ** -40) * scale;
    expect(oneWeight(trained, high * scale)).toMatchObject({ verdict: 'fail', rounding: { correctly: 0 } });
    expect(oneWeight(trained, high * scale, 'fused in float32')).toMatchObject({
      verdict: 'pass',
      rounding: { correctly: 0, inFloat32: 1, worstWeight: 'fused.weight[0, 0, 0, 0]' },
    });
  });
});

describe('a weight beneath the smallest normal float', () => {
  test('that is lost altogether is correctly rounded, and counted', () => {
    expect(oneWeight(2 ** -160, 0)).toMatchObject({ verdict: 'pass', rounding: { correctly: 1 } });
  });

  test('may be off by the underflow of each operation, and no more', () => {
    // A product, and one for the comparison itself.
    const operations = 2;
    const smallest = 2 ** -149;
    expect(oneWeight(0, operations * smallest, 'fused in float32')).toMatchObject({ verdict: 'pass', operations });
    expect(oneWeight(0, (operations + 1) * smallest, 'fused in float32').verdict).toBe('fail');
    expect(oneWeight(2 ** -140, 2 ** -140 + smallest, 'fused in float32').verdict).toBe('pass');
  });
});

describe('windows', () => {
  const [perSet, sets, parts, window] = [2, 3, [2, 3], [2, 4]] as const;
  const pixels = window[0] * window[1];
  const shape = [2, perSet * sets, parts[0] * window[0], parts[1] * window[1]];

  /** partition -> fc3 -> departition. */
  function windowed(
    prenorm: boolean,
    more: (builder: NetworkBuilder, x: string, y: string) => string = (_, _x, y) => y,
  ) {
    const builder = new NetworkBuilder('windows');
    const x = builder.input('input', shape);
    const source = prenorm ? builder.add('bn', norm, [x]) : x;
    const cut = builder.add('cut', { kind: 'partition', window, sets }, [source]);
    const mixed = builder.add('fc3', { kind: 'setLinear', bias: true }, [cut]);
    const back = builder.add('back', { kind: 'departition', channels: perSet * sets, parts }, [mixed]);
    return builder.build(more(builder, x, back));
  }

  function oneLayer(own: Partial<OpOf<'windowLinear'>>): Network {
    const builder = new NetworkBuilder('layer');
    const op = { kind: 'windowLinear', window, sets, bias: true, affine: false, ...own } as const;
    return builder.build(builder.add('fused', op, [builder.input('input', shape)]));
  }

  /** The weights of fc3, for as many share-sets as `setOf` has. */
  function dealt(weights: Weights<Float32Array>, setOf: readonly number[]): Weights<Float32Array> {
    const deal = (key: string, ofSet: number) => {
      const { data } = weights.get(key)!;
      return Float32Array.from({ length: setOf.length * ofSet }, (_, i) => {
        return data[setOf[Math.floor(i / ofSet)]! * ofSet + (i % ofSet)]!;
      });
    };
    return new Map([
      ['fused.weight', { shape: [setOf.length * pixels, pixels, 1, 1], data: deal('fc3.weight', pixels ** 2) }],
      ['fused.bias', { shape: [setOf.length * pixels], data: deal('fc3.bias', pixels) }],
    ]);
  }

  test('that each come back to their place pass, every weight and every window compared', () => {
    const reference = windowed(false);
    const weights = randomWeights(reference, SEED);
    const [finding, ...others] = checkBasis(pieceOf(reference, oneLayer({})), weights, dealt(weights, [0, 1, 2]));
    expect(others).toEqual([]);
    const windows = perSet * sets * parts[0] * parts[1];
    // Each window has a number, in binary: a one for each probe that it stands in.
    let routed = 0;
    for (let number = 1; number <= windows; number++)
      routed += [...number.toString(2)].filter((bit) => bit === '1').length;
    const compared = sets * pixels ** 2 + routed * pixels + windows * pixels;
    expect(finding!.comparison).toMatchObject({ verdict: 'pass', compared });
  });

  test('that come back to the place of others fail, though all weights are right', () => {
    const reference = windowed(false);
    const weights = randomWeights(reference, SEED);
    // A share-set for each channel: then every window stays in its place, where here some change theirs.
    const stays = oneLayer({ sets: perSet * sets });
    const findings = checkBasis(pieceOf(reference, stays), weights, dealt(weights, [0, 1, 2, 0, 1, 2]));
    expect(findings.map(({ comparison }) => comparison.verdict)).toContain('fail');
  });

  test.each<[string, Network]>([
    ['no batch norm', windowed(false)],
    [
      'a batch norm that is not the only reader',
      windowed(true, (builder, x, y) => builder.add('add', { kind: 'add' }, [x, y])),
    ],
  ])('of which a layer scales each channel are inconclusive behind %s', (_name, reference) => {
    const weights = randomWeights(reference, SEED);
    const deploy = oneLayer({ affine: true });
    const [finding, ...others] = checkBasis(pieceOf(reference, deploy), weights, randomWeights(deploy, SEED));
    expect(others).toEqual([]);
    expect(finding!.comparison).toMatchObject({
      verdict: 'inconclusive',
      compared: 0,
      reason: 'fused scales each channel, but no batch norm alone reads input',
    });
  });
});
