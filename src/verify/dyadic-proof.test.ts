import { describe, expect, test } from 'vitest';
import type { Engine, Precision } from '../engines/engine.ts';
import { type Fusion, fuse } from '../fused/fuse.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Node, Op } from '../network/ops.ts';
import { FLOAT32, NO_PRECISION } from '../network/precision.ts';
import { toFloat32 } from '../network/tensor.ts';
import { DYADIC_EPS, dyadicInput, dyadicWeights } from '../weights/dyadic.ts';
import { checkDyadic } from './dyadic.ts';

const SEED = 6;
const precision: Precision = { ...FLOAT32, underflow: 2 ** -149, erf: 0 };

/** The float64 oracle, rounded to float32. */
function engine(limits: Partial<Precision> = {}): Engine {
  return {
    info: { name: 'right', version: '', device: '', threads: 1, precision: { ...precision, ...limits } },
    liveTensors: () => undefined,
    load: async (network, weights) => ({
      run: async (inputs) => toFloat32((await evaluateFloat64(network, weights, inputs)).get(network.output)!),
      dispose: async () => {},
    }),
  };
}

/** One op that reads `input`. */
function only(op: Op, shape: readonly number[]): Network {
  const builder = new NetworkBuilder('one');
  return builder.build(builder.add('op', op, [builder.input('input', shape)]));
}

/** A 1x1 convolution and its batch norm. */
function convNorm(): Network {
  const builder = new NetworkBuilder('conv-norm');
  const pixel = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
  const op = { kind: 'conv2d', ...pixel, outChannels: 2, bias: false } as const;
  const convolved = builder.add('m.c', op, [builder.input('input', [1, 2, 4, 4])]);
  return builder.build(builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved]));
}

async function reasonsOf(fusion: Fusion, limits: Partial<Precision>): Promise<readonly (string | undefined)[]> {
  return (await checkDyadic(fusion, [engine(limits)], SEED)).map(({ comparison }) => comparison.reason);
}

const largestOf = (data: ArrayLike<number>): number => Math.max(...Array.from(data, Math.abs));

describe('the largest sum is', () => {
  const beyond = (largest: number) => `a sum may reach ${largest}, which is beyond 0`;

  test('of a batch norm, that of the channel where it is largest', async () => {
    const network = only({ kind: 'batchNorm', eps: DYADIC_EPS }, [1, 3, 4, 5]);
    const [gamma, beta, mean, variance] = [...dyadicWeights(network, SEED).values()].map(({ data }) => data);
    const x = largestOf(dyadicInput([1, 3, 4, 5], SEED, 'input').data);
    const channels = [0, 1, 2].map((c) => {
      const factor = Math.abs(gamma![c]!) / Math.sqrt(variance![c]! + DYADIC_EPS);
      return (x + Math.abs(mean![c]!)) * factor + Math.abs(beta![c]!);
    });
    expect(await reasonsOf(fuse(network, []), { largest: 0 })).toEqual([beyond(Math.max(...channels))]);
  });

  test('of a layer over windows, that of one row, however many windows there are', async () => {
    const network = only({ kind: 'setLinear', bias: true }, [2, 3, 1, 4]);
    const { weight, bias } = Object.fromEntries(
      [...dyadicWeights(network, SEED)].map(([key, { data }]) => [key.split('.')[1]!, data]),
    );
    const x = largestOf(dyadicInput([2, 3, 1, 4], SEED, 'input').data);
    const rows = Array.from({ length: 12 }, (_, row) =>
      weight!.subarray(row * 4, (row + 1) * 4).reduce((sum, value) => sum + Math.abs(value), 0),
    );
    expect(await reasonsOf(fuse(network), { largest: 0 })).toEqual([beyond(Math.max(...rows) * x + largestOf(bias!))]);
  });
});

describe('an arithmetic is just good enough', () => {
  const relu = fuse(only({ kind: 'relu' }, [1, 1, 4, 5]));
  const largest = largestOf(dyadicInput([1, 1, 4, 5], SEED, 'input').data);

  test('where its largest number is the largest sum', async () => {
    expect(await reasonsOf(relu, { largest })).toEqual([undefined]);
    expect(await reasonsOf(relu, { largest: largest - 2 ** -40 })).toEqual([
      `a sum may reach ${largest}, which is beyond ${largest - 2 ** -40}`,
    ]);
  });

  test('where it has as many steps as the largest sum', async () => {
    expect(await reasonsOf(relu, { unitRoundoff: 1 / largest })).toEqual([undefined]);
    const [reason] = await reasonsOf(relu, { unitRoundoff: 1 / (largest - 2 ** -40) });
    expect(reason).toMatch(/^a sum may reach /);
  });
});

describe('the least step', () => {
  test('of a mean is that of the sum over the pixels', async () => {
    const pool = fuse(only({ kind: 'globalAvgPool', keepDims: true }, [1, 1, 9, 9]));
    // Of 4x8 pixels.
    expect(await reasonsOf(pool, { underflow: 1 })).toEqual([`a term may be as small as ${2 ** -5}`]);
  });

  test('counts on the way, too, where the output has larger ones', async () => {
    const builder = new NetworkBuilder('heads');
    const x = builder.input('input', [1, 3]);
    const heads = ['a', 'b'].map((name) => builder.add(name, { kind: 'linear', outFeatures: 2, bias: true }, [x]));
    const sum = builder.add('sum', { kind: 'add' }, heads);
    const fusion = fuse(builder.build(builder.add('times', { kind: 'scale', factor: 4 }, [sum])));
    const [reference] = await reasonsOf(fusion, { underflow: 2 ** -23 });
    expect(reference).toBe('a term may be as small as 1');
  });
});

test.each([2 ** -60, -(2 ** -60)])('a rule that adds to %d, which is then lost, rounds', async (tiny) => {
  const fusion = fuse(convNorm());
  const steps = fusion.steps.map((step): Fusion['steps'][number] => ({
    ...step,
    weights: (field, source) => {
      const made = step.weights(field, source);
      made.weight![0] = field.add(field.of(tiny), made.weight![0]!);
      return made;
    },
  }));
  const findings = await checkDyadic({ ...fusion, steps }, [engine()], SEED);
  const [finding, ...others] = findings;
  expect(others).toEqual([]);
  expect(finding).toMatchObject({ piece: 'm', form: 'deploy', shape: [], comparison: { verdict: 'inconclusive' } });
  expect(finding!.comparison.reason).toMatch(/^fusing rounds: /);
});

describe('a node that fusing leaves alone', () => {
  test('and that does not fit is a failure without elements', async () => {
    const fusion = fuse(only({ kind: 'scale', factor: 2 }, [1, 3, 4, 4]));
    const wrong = { kind: 'conv2d', outChannels: 3, groups: 2, kernel: [1, 1], stride: [1, 1] } as const;
    const op = { ...wrong, padding: [0, 0], dilation: [1, 1], bias: false } as const;
    const nodes = fusion.network.nodes.map((node) => (node.name === 'op' ? ({ ...node, op } as Node) : node));
    const [finding, ...others] = await checkDyadic({ ...fusion, network: { ...fusion.network, nodes } }, [engine()], 1);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ piece: 'op', form: 'both', shape: [] });
    expect(finding!.comparison).toEqual({
      verdict: 'fail',
      compared: 0,
      failures: 0,
      worstRatio: 0,
      worst: [],
      reason: expect.stringContaining('op'),
    });
  });

  test('over windows runs with few channels a share-set', async () => {
    const op = { kind: 'windowLinear', window: [2, 3], sets: 2, bias: true, affine: false } as const;
    const findings = await checkDyadic(fuse(only(op, [1, 12, 4, 3])), [engine()], SEED);
    expect(findings.map(({ shape, form }) => [shape, form])).toEqual([[[1, 4, 4, 3], 'both']]);
    expect(findings[0]!.comparison).toMatchObject({ verdict: 'pass', compared: 48 });
  });

  test('that puts windows back gives few channels a share-set', async () => {
    const op = { kind: 'departition', channels: 12, parts: [2, 1] } as const;
    // 2 windows a map, 6 channels for each of 2 share-sets.
    const findings = await checkDyadic(fuse(only(op, [12, 2, 2, 3])), [engine()], SEED);
    expect(findings.map(({ shape }) => shape)).toEqual([[1, 4, 4, 3]]);
    expect(findings[0]!.comparison).toMatchObject({ verdict: 'pass', compared: 48 });
  });
});

test('an engine that states no precision is inconclusive, with the reason', async () => {
  const info = { ...engine().info, precision: undefined };
  const [finding, ...others] = await checkDyadic(
    fuse(only({ kind: 'relu' }, [1, 1, 4, 5])),
    [{ ...engine(), info }],
    1,
  );
  expect(others).toEqual([]);
  expect(finding!.comparison).toMatchObject({ verdict: 'inconclusive', compared: 0, reason: NO_PRECISION });
});

test('of a tensor that is no map the first two dimensions are enough', async () => {
  const findings = await checkDyadic(fuse(only({ kind: 'relu' }, [2, 3, 20])), [engine()], SEED);
  expect(findings.map(({ shape, comparison }) => [shape, comparison.verdict])).toEqual([[[2, 3], 'pass']]);
});

describe('pieces that differ only in how the forms name their inputs', () => {
  /** The sum of the first two inputs, then that of the others. */
  const sums = (() => {
    const builder = new NetworkBuilder('sums');
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => builder.input(name, [1, 2, 4, 5]));
    const both = [builder.add('ab', { kind: 'add' }, [a!, b!]), builder.add('cd', { kind: 'add' }, [c!, d!])];
    return fuse(builder.build(builder.add('last', { kind: 'add' }, both)));
  })();

  test.each([
    ['are run once where the names agree', ['c', 'd'], ['ab']],
    ['are run one by one where they do not', ['d', 'c'], ['ab', 'cd']],
  ] as const)('%s', async (_name, [c, d], run) => {
    const sameValue = new Map([...sums.sameValue, ['c', c], ['d', d]]);
    const findings = await checkDyadic({ ...sums, sameValue }, [engine()], SEED);
    expect(findings.map(({ piece }) => piece)).toEqual(run);
  });
});

test('a deploy node that reads what its region computes within fails', async () => {
  const fusion = fuse(convNorm());
  const sameValue = new Map([...fusion.sameValue, ['input', 'm.c']]);
  const findings = await checkDyadic({ ...fusion, sameValue }, [engine()], SEED);
  expect(findings.map(({ piece, comparison }) => [piece, comparison.verdict])).toEqual([['m', 'fail']]);
});

test('windows of which no batch norm stands before them pass in both forms', async () => {
  const builder = new NetworkBuilder('windows');
  const cut = builder.add('cut', { kind: 'partition', window: [2, 3], sets: 2 }, [
    builder.input('input', [1, 4, 4, 3]),
  ]);
  const mixed = builder.add('fc3', { kind: 'setLinear', bias: true }, [cut]);
  const fusion = fuse(builder.build(builder.add('back', { kind: 'departition', channels: 4, parts: [2, 1] }, [mixed])));
  const findings = await checkDyadic(fusion, [engine()], SEED);
  expect(findings.map(({ form, comparison }) => [form, comparison.verdict])).toEqual([
    ['reference', 'pass'],
    ['deploy', 'pass'],
  ]);
});
