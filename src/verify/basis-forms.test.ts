import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Op, OpOf } from '../network/ops.ts';
import { FLOAT32, FLOAT64, gamma } from '../network/precision.ts';
import { elements, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { randomWeights } from '../weights/random.ts';
import { checkBasis, type Demand } from './basis.ts';
import type { Piece } from './pieces.ts';

const SEED = 8;

/** A depthwise 1x1 convolution of one channel. */
const pixel: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 1,
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: false,
};

/** These ops one behind the other; their weights are `NAME.0`, `NAME.1`, ... */
function chain(name: string, shape: Shape, ...ops: readonly Op[]): Network {
  const builder = new NetworkBuilder(name);
  return builder.build(ops.reduce((x, op, i) => builder.add(`${name}.${i}`, op, [x]), builder.input('input', shape)));
}

function pieceOf(reference: Network, deploy: Network): Piece {
  return {
    name: deploy.output,
    rules: ['made up'],
    reference,
    deploy,
    inputs: new Map(deploy.inputs.map((name) => [name, name])),
  };
}

const tensor = (shape: Shape, values: ArrayLike<number>): Tensor => ({ shape, data: Float64Array.from(values) });

/** By key; each tensor as flat as its values. */
const weightsOf = (values: Readonly<Record<string, ArrayLike<number>>>): Weights =>
  new Map(Object.entries(values).map(([key, data]) => [key, tensor([data.length], data)]));

function check(
  reference: Network,
  deploy: Network,
  trained: Readonly<Record<string, ArrayLike<number>>>,
  stored: Readonly<Record<string, ArrayLike<number>>>,
  demand?: Demand,
) {
  return checkBasis(pieceOf(reference, deploy), weightsOf(trained), weightsOf(stored), demand);
}

const verdictsOf = (findings: ReturnType<typeof check>) => findings.map(({ comparison }) => comparison.verdict);

describe('the map that is probed', () => {
  const column = { ...pixel, kernel: [3, 1], padding: [1, 0], bias: true } as const;

  test('has 2k - 1 pixels for a padded kernel of k, whatever stands beside it', () => {
    const builder = new NetworkBuilder('t');
    const x = builder.input('input', [1, 1, 9, 1]);
    const terms = [builder.add('t.0', column, [x]), builder.add('t.1', pixel, [x])];
    const reference = builder.build(builder.add('t.2', { kind: 'add' }, terms));
    const trained = { 't.0.weight': [1, 2, 3], 't.0.bias': [4], 't.1.weight': [5] };
    const deploy = chain('d', [1, 1, 9, 1], column);
    const [finding] = check(reference, deploy, trained, { 'd.0.weight': [1, 7, 3], 'd.0.bias': [4] });
    // On 5 pixels: the middle tap at each, the others at all but one, and the bias at each.
    expect(finding!.comparison).toMatchObject({ verdict: 'pass', compared: 5 + 4 + 4 + 5 });
  });

  test('tells one stride from another, where the own map does not', () => {
    // Of 4 pixels the first and the third, or the first and the last.
    const [two, three] = ([2, 3] as const).map((by) =>
      chain(`s${by}`, [1, 1, 4, 4], { ...pixel, stride: [by, by] }),
    ) as [Network, Network];
    const weight = { 's2.0.weight': [3], 's3.0.weight': [3] };
    expect(verdictsOf(check(two, three, weight, weight))).toEqual(['fail']);
    expect(verdictsOf(check(two, two, weight, weight))).toEqual(['pass']);
  });

  test('tells a mean from its only pixel', () => {
    const pool = chain('pool', [1, 3, 1, 1], { kind: 'globalAvgPool', keepDims: true });
    const nothing = chain('nothing', [1, 3, 1, 1], { kind: 'scale', factor: 1 });
    const [finding] = check(pool, nothing, {}, {});
    expect(finding!.comparison.reason).toMatch(/^nothing.0: the output has the shape /);
    expect(verdictsOf(check(pool, pool, {}, {}))).toEqual(['pass']);
  });

  test('is the own one where windows are cut, in either form', () => {
    const shape = [1, 2, 4, 6];
    const cut = { window: [2, 3], sets: 2 } as const;
    const perChannel = { ...pixel, outChannels: 2, groups: 2 } as const;
    const depthwise = chain('d', shape, perChannel);
    const parts = { kind: 'departition', channels: 2, parts: [2, 2] } as const;
    const within = chain('w', shape, { kind: 'partition', ...cut }, perChannel, parts);
    const scales = [3, 5];
    expect(verdictsOf(check(within, depthwise, { 'w.1.weight': scales }, { 'd.0.weight': scales }))).toEqual(['pass']);
    const layer = chain('l', shape, { kind: 'windowLinear', ...cut, bias: false, affine: false });
    const matrix = scales.flatMap((by) => Array.from({ length: 36 }, (_, i) => (i % 7 === 0 ? by : 0)));
    expect(verdictsOf(check(depthwise, layer, { 'd.0.weight': scales }, { 'l.0.weight': matrix }))).toEqual(['pass']);
  });
});

describe('layers over windows', () => {
  const shape = [1, 2, 4, 6];
  const base = { kind: 'windowLinear', window: [2, 3], sets: 2, bias: false, affine: false } as const;

  test('four windows have five ones in their binary numbers', () => {
    const layer = chain('l', [1, 1, 4, 6], { ...base, sets: 1 });
    const { data } = randomWeights(layer, SEED).get('l.0.weight')!;
    const [finding] = check(layer, layer, { 'l.0.weight': data }, { 'l.0.weight': data });
    // 1, 10, 11 and 100.
    expect(finding!.comparison).toMatchObject({ verdict: 'pass', compared: 36 + 5 * 6 });
  });

  /** A layer of this window, on one image; a share-set of its own for each channel, where there are no more. */
  test.each<[string, Shape, Partial<OpOf<'windowLinear'>>, Partial<OpOf<'windowLinear'>>, number]>([
    // Of the third channel's set, not its first pixel: in the reference's cut that channel only stands for the first.
    ['sets', [1, 4, 2, 3], {}, { sets: 4 }, 3],
    ['rows', shape, {}, { window: [4, 3] }, 10],
    ['columns', shape, {}, { window: [2, 6] }, 10],
  ])('that cut into other %s are compared element by element', (_name, map, ofReference, ofDeploy, from) => {
    const [reference, deploy] = [
      chain('r', map, { ...base, ...ofReference }),
      chain('d', map, { ...base, ...ofDeploy }),
    ];
    const { data } = randomWeights(reference, SEED).get('r.0.weight')!;
    const right = new Float32Array(elements(randomWeights(deploy, SEED).get('d.0.weight')!.shape));
    const { sets, window } = { ...base, ...ofDeploy };
    const [h, w] = window;
    const pixels = h * w;
    for (let set = 0; set < sets; set++) {
      for (let to = 0; to < pixels; to++) {
        for (let at = 0; at < pixels; at++) {
          const [toRow, toColumn, atRow, atColumn] = [Math.floor(to / w), to % w, Math.floor(at / w), at % w];
          const isOneWindow =
            Math.floor(toRow / 2) === Math.floor(atRow / 2) && Math.floor(toColumn / 3) === Math.floor(atColumn / 3);
          const [own, other] = [(toRow % 2) * 3 + (toColumn % 3), (atRow % 2) * 3 + (atColumn % 3)];
          if (isOneWindow) right[(set * pixels + to) * pixels + at] = data[((set % 2) * 6 + own) * 6 + other]!;
        }
      }
    }
    const trained = { 'r.0.weight': data };
    expect(verdictsOf(check(reference, deploy, trained, { 'd.0.weight': right }))).toEqual(['pass']);
    const index = ((sets - 1) * pixels + from) * pixels + from;
    const wrong = right.map((value, i) => (i === index ? value + 1 : value));
    expect(verdictsOf(check(reference, deploy, trained, { 'd.0.weight': wrong }))).toEqual(['fail']);
  });

  test('that scale each channel, behind a node of their own, are inconclusive', () => {
    const layer = { ...base, affine: true };
    const deploy = chain('d', shape, { kind: 'scale', factor: 2 }, layer);
    const reference = chain('r', shape, { kind: 'scale', factor: 2 }, base);
    const weights = randomWeights(deploy, SEED);
    const [finding] = checkBasis(pieceOf(reference, deploy), randomWeights(reference, SEED), weights);
    expect(finding!.comparison).toMatchObject({
      verdict: 'inconclusive',
      reason: 'd.1 scales each channel, but no batch norm alone reads input',
    });
  });
});

describe('what is set apart in probes', () => {
  test('is each channel, where one form mixes them: sums of a row are no weights', () => {
    const depthwise = chain('a', [1, 2, 3, 3], { ...pixel, outChannels: 2, groups: 2 });
    const full = chain('b', [1, 2, 3, 3], { ...pixel, outChannels: 2 });
    const weights = { 'a.0.weight': [3, 5], 'b.0.weight': [1, 2, 4, 1] };
    expect(verdictsOf(check(depthwise, full, weights, weights))).toEqual(['fail']);
    expect(verdictsOf(check(full, depthwise, weights, weights))).toContain('fail');
  });

  test('is each input, where there are several', () => {
    const sumOf = (scaled: 'a' | 'b') => {
      const builder = new NetworkBuilder(scaled);
      const inputs = ['a', 'b'].map((name) => builder.input(name, [1, 2, 3, 3]));
      const terms = inputs.map((x) =>
        x === scaled ? builder.add(`${x}.twice`, { kind: 'scale', factor: 2 }, [x]) : x,
      );
      return builder.build(builder.add('sum', { kind: 'add' }, terms));
    };
    expect(verdictsOf(check(sumOf('a'), sumOf('b'), {}, {}))).toEqual(['fail']);
    expect(verdictsOf(check(sumOf('a'), sumOf('a'), {}, {}))).toEqual(['pass']);
  });

  test('is each element that goes its own way, through both forms', () => {
    const twice = (name: string) => chain(name, [1, 2, 3, 3], { kind: 'scale', factor: 2 });
    expect(verdictsOf(check(twice('a'), twice('b'), {}, {}))).toEqual(['pass']);
    const thrice = chain('c', [1, 2, 3, 3], { kind: 'scale', factor: 3 });
    expect(verdictsOf(check(twice('a'), thrice, {}, {}))).toEqual(['fail']);
  });

  test('of a region of zeros are each element of its input, and no input at all', () => {
    const zeros = chain('z', [1, 2, 4, 4], { ...pixel, outChannels: 3, kernel: [2, 3], bias: true });
    const weights = { 'z.0.weight': new Float64Array(36), 'z.0.bias': [0, 0, 0] };
    const [finding] = check(zeros, zeros, weights, weights);
    expect(finding!.comparison).toMatchObject({ verdict: 'pass', compared: 2 * 2 * 3 + 1 });
  });
});

describe('an entry that one form alone has', () => {
  const layer = (name: string, op: Partial<OpOf<'conv2d'>>) => chain(name, [1, 1, 3, 3], { ...pixel, ...op });

  test('a bias where the reference has none fails, and is named', () => {
    const trained = { 'r.0.weight': [2] };
    const stored = { 'd.0.weight': [2], 'd.0.bias': [0.5] };
    const findings = check(layer('r', {}), layer('d', { bias: true }), trained, stored);
    expect(findings.map(({ key, comparison }) => [key, comparison.verdict])).toEqual([['d.0.bias', 'fail']]);
  });

  test('zeros around the only tap are right', () => {
    const around = { kernel: [3, 1], padding: [1, 0] } as const;
    const [one, three] = [{ 'r.0.weight': [2] }, { 'd.0.weight': [0, 2, 0] }];
    expect(verdictsOf(check(layer('r', {}), layer('d', around), one, three))).toEqual(['pass']);
    expect(verdictsOf(check(layer('d', around), layer('r', {}), three, one))).toEqual(['pass']);
  });

  test('zeros between the groups of wide layers are right', () => {
    const ins = 64;
    const wide = { ...pixel, outChannels: 4 } as const;
    const [full, grouped] = [
      chain('f', [1, 2 * ins, 1, 1], wide),
      chain('g', [1, 2 * ins, 1, 1], { ...wide, groups: 2 }),
    ];
    const { data } = randomWeights(grouped, SEED).get('g.0.weight')!;
    const block = Array.from({ length: 4 * 2 * ins }, (_, i) => {
      const [out, at] = [Math.floor(i / (2 * ins)), i % (2 * ins)];
      return Math.floor(out / 2) === Math.floor(at / ins) ? data[out * ins + (at % ins)]! : 0;
    });
    expect(verdictsOf(check(full, grouped, { 'f.0.weight': block }, { 'g.0.weight': data }))).toEqual(['pass']);
  });

  test('a factor that belongs to no weight is told element by element', () => {
    const [one, two] = [1, 2].map((factor) => chain(`s${factor}`, [1, 2, 3, 3], { kind: 'scale', factor })) as [
      Network,
      Network,
    ];
    const [finding, ...others] = check(one, two, {}, {});
    expect(others).toEqual([]);
    expect(finding).not.toHaveProperty('key');
    expect(finding!.shape).toEqual([1, 2, 1, 1]);
    expect(finding!.comparison.worst.map(({ index }) => index)).toEqual([0, 1]);
  });
});

/** One weight in either form. */
function oneWeight(trained: number, storedAs: number, demand?: Demand) {
  const [reference, deploy] = [chain('t', [1, 1, 2, 2], pixel), chain('s', [1, 1, 2, 2], pixel)];
  const [finding] = check(reference, deploy, { 't.0.weight': [trained] }, { 's.0.weight': [storedAs] }, demand);
  return finding!;
}

describe('beside a power of two, beneath which floats stand twice as close,', () => {
  test.each([1, 2 ** -7])('%d: less than a half of the larger unit beneath it is not correctly rounded', (power) => {
    const finding = oneWeight(power * (1 - 0.625 * 2 ** -24), power);
    expect(finding.comparison.verdict).toBe('fail');
    expect(finding.rounding.correctly).toBe(0);
    expect(finding.rounding.worstUlps).toBe(0.625);
  });

  test('a half of it above, but for what float64 rounds, is', () => {
    expect(oneWeight(1 + 2 ** -24 + 2 ** -52, 1).comparison.verdict).toBe('pass');
  });

  test('the unit of a weight of the wrong sign is the larger one', () => {
    expect(oneWeight(-1, 1).rounding.worstUlps).toBe(2 ** 24);
  });
});

describe('the bound of a wrong weight is', () => {
  // A product, and one for the comparison itself.
  const operations = 2;

  test.each<[Demand, number]>([
    ['correctly rounded', 2 ** -24 + gamma(operations, FLOAT64.unitRoundoff)],
    ['fused in float32', gamma(operations, FLOAT32.unitRoundoff) + operations * 2 ** -149],
  ])('where %s is asked for: %d', (demand, bound) => {
    const { comparison } = oneWeight(1, 1 + 2 ** -10, demand);
    expect(comparison.worst).toEqual([{ index: 0, expected: 1, actual: 1 + 2 ** -10, bound, ratio: 2 ** -10 / bound }]);
  });
});

test('of two weights that are equally far off the first is the worst', () => {
  const two = chain('t', [1, 1, 2, 2], { ...pixel, outChannels: 2 });
  const up = 1 + 2 ** -23;
  const [finding] = check(two, two, { 't.0.weight': [1, 1] }, { 't.0.weight': [up, up] });
  expect(finding!.rounding).toMatchObject({ worstUlps: 1, worstWeight: 't.0.weight[0, 0, 0, 0]' });
});

/** The sum of two 1x1 convolutions, `t.0` and `t.1`. */
const twoBranches = (() => {
  const builder = new NetworkBuilder('t');
  const x = builder.input('input', [1, 1, 2, 2]);
  const terms = ['t.0', 't.1'].map((name) => builder.add(name, pixel, [x]));
  return builder.build(builder.add('t.2', { kind: 'add' }, terms));
})();

test('what is off by the very half of a unit and all that float64 may have rounded is correctly rounded', () => {
  const [less, more] = [0.5 - 2 ** -25 - 2 ** -51, 1.5 + 2 ** -25 + 2 ** -52];
  // A product, a sum, and one for the comparison itself.
  const allowed = gamma(3, FLOAT64.unitRoundoff) * (more + less);
  expect(more - less - 1).toBe(2 ** -24 + allowed);
  const trained = { 't.0.weight': [more], 't.1.weight': [-less] };
  const [finding] = check(twoBranches, chain('s', [1, 1, 2, 2], pixel), trained, { 's.0.weight': [1] });
  expect(finding!.comparison).toMatchObject({ verdict: 'pass', compared: 1 });
});

test('trained weights whose magnitudes overflow are inconclusive, whatever is stored', () => {
  const trained = { 't.0.weight': [1.5e308], 't.1.weight': [-1.4e308] };
  const findings = check(twoBranches, chain('s', [1, 1, 2, 2], pixel), trained, { 's.0.weight': [3e38] });
  expect(findings.map(({ comparison }) => [comparison.verdict, comparison.reason])).toEqual([
    ['inconclusive', '1 values are not finite'],
  ]);
});

test.each([
  ['first', [1, 2, 3]],
  ['last', [3, 2, 1]],
])('a weight that is off at several places is shown once, at the worst, which is the %s', (_where, first) => {
  // Where the inner map is padded a term is missing that a single layer has.
  const column = { ...pixel, kernel: [3, 1], padding: [1, 0] } as const;
  const shape = [1, 1, 9, 1];
  const reference = chain('r', shape, column, column);
  const deploy = chain('d', shape, { ...column, kernel: [5, 1], padding: [2, 0] });
  const [a, b, c] = first as [number, number, number];
  const composed = [a, a + b, a + b + c, b + c, c];
  const trained = { 'r.0.weight': first, 'r.1.weight': [1, 1, 1] };
  const [finding, ...others] = check(reference, deploy, trained, { 'd.0.weight': composed });
  expect(others).toEqual([]);
  // At one end 3 is missing of the 6, at the other 1.
  expect(finding!.comparison).toMatchObject({
    verdict: 'fail',
    failures: 2,
    worst: [{ index: 2, expected: 3, actual: 6 }],
  });
  expect(finding!.comparison.worst).toHaveLength(1);
});
