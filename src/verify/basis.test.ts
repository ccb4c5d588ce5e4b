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
  return buildRepMlpNet(config, { batch: 1, height: 16, width: 24 });
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
        worst: comparison.worst.map((difference) => [difference.index, difference.actual]),
      }));
    for (const piece of fused) {
      for (const key of keysOf(piece)) {
        const { length } = stored.get(key)!.data;
        // Every one of small tensors; of larger ones one in five, so that every row and column is met.
        for (let index = 0; index < length; index += length > 24 ? 5 : 1, weights++) {
          const worst = [[index, nextUp(stored.get(key)!.data[index]!)]];
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
    for (let i = 0; i < 7; i++) wrong = withElement(wrong, 'm.weight', i, (value) => value + 2 ** (i - 12));
    const [finding, ...others] = check(piece, wrong);
    expect(others).toEqual([]);
    const { worst, worstRatio } = finding!.comparison;
    expect(worst).toHaveLength(5);
    expect(new Set(worst.map(({ index }) => index)).size).toBe(5);
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
  expect(finding!.comparison).toMatchObject({ verdict: 'inconclusive', reason: '1 values are not finite' });
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
    expect(finding!.key).toBeUndefined();
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
    expect(finding!.comparison).toMatchObject({ verdict: 'inconclusive', compared: 0, failures: 0 });
  });
});
