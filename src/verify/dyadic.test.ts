import { describe, expect, test } from 'vitest';
import { type Engine, type Precision, UnsupportedOp } from '../engines/engine.ts';
import type { Field } from '../fused/field.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse } from '../fused/fuse.ts';
import type { FusedWeights } from '../fused/rule.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { isKind, type Network, type Op } from '../network/ops.ts';
import { FLOAT32 } from '../network/precision.ts';
import { repMlpNet } from '../reference/repmlpnet.ts';
import { DYADIC_EPS, dyadicInput, dyadicWeights } from '../weights/dyadic.ts';
import { checkDyadic } from './dyadic.ts';
import type { Finding } from './findings.ts';

const precision: Precision = { ...FLOAT32, underflow: 2 ** -149, erf: 0 };

interface Stub {
  readonly name?: string;
  readonly precision?: Precision;
  /** Told of every network that is loaded; may throw. */
  readonly onLoad?: (network: Network) => void;
  /** What becomes of the right output, in place. */
  readonly spoil?: (output: Float32Array, network: Network) => void;
}

/** The float64 oracle as an engine: its output rounded to float32. */
function stub({ name = 'stub', onLoad = () => {}, spoil = () => {}, ...rest }: Stub = {}): Engine {
  return {
    info: { name, version: '', device: '', threads: 1, precision: rest.precision ?? precision },
    liveTensors: () => undefined,
    load: async (network, weights) => {
      onLoad(network);
      return {
        run: async (inputs) => {
          const { shape, data } = (await evaluateFloat64(network, weights, inputs)).get(network.output)!;
          const output = Float32Array.from(data);
          spoil(output, network);
          return { shape, data: output };
        },
        dispose: async () => {},
      };
    },
  };
}

const pixel = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;

/** conv -> bn, relu, then one more op. */
function network(last: Op, channels = 3): Network {
  const builder = new NetworkBuilder('network');
  const op = { kind: 'conv2d', ...pixel, outChannels: channels, bias: false } as const;
  const conv = builder.add('m.c', op, [builder.input('input', [1, channels, 9, 9])]);
  const active = builder.add('act', { kind: 'relu' }, [builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [conv])]);
  return builder.build(builder.add('last', last, [active]));
}

const scaled = fuse(network({ kind: 'scale', factor: 0.5 }));

const row = ({ piece, engine, form, comparison }: Finding) => [piece, engine, form, comparison.verdict];
const failuresOf = (findings: readonly Finding[]) => findings.filter(({ comparison }) => comparison.verdict !== 'pass');

describe('a right engine', () => {
  test('both forms of every piece, on each engine', async () => {
    const findings = await checkDyadic(scaled, [stub({ name: 'a' }), stub({ name: 'b' })], 1);
    expect(findings.map(row)).toEqual([
      ['m', 'a', 'reference', 'pass'],
      ['m', 'b', 'reference', 'pass'],
      ['m', 'a', 'deploy', 'pass'],
      ['m', 'b', 'deploy', 'pass'],
      ['act', 'a', 'both', 'pass'],
      ['act', 'b', 'both', 'pass'],
      ['last', 'a', 'both', 'pass'],
      ['last', 'b', 'both', 'pass'],
    ]);
    expect(findings[0]).toMatchObject({ tier: 'dyadic', rules: ['conv-batch-norm'], reference: ['m.c', 'm.bn'] });
    expect(findings.map(({ shape, comparison }) => [shape, comparison.compared])).toEqual(
      findings.map(() => [[1, 3, 4, 5], 60]),
    );
  });

  test('may give -0 for 0', async () => {
    let zeros = 0;
    const engine = stub({
      spoil: (output) => {
        for (const [i, value] of output.entries()) {
          if (value !== 0) continue;
          output[i] = -0;
          zeros++;
        }
      },
    });
    expect(failuresOf(await checkDyadic(scaled, [engine], 1))).toEqual([]);
    expect(zeros).toBeGreaterThan(0);
  });

  test('gets eps 2^-17 in every batch norm', async () => {
    const seen = new Set<number>();
    const onLoad = ({ nodes }: Network) => {
      for (const node of nodes) if (isKind(node, 'batchNorm')) seen.add(node.op.eps);
    };
    await checkDyadic(scaled, [stub({ onLoad })], 1);
    expect([...seen]).toEqual([2 ** -17]);
  });

  test('no engine, no finding', async () => {
    expect(await checkDyadic(scaled, [], 1)).toEqual([]);
  });
});

describe('a wrong engine', () => {
  test('a last bit that is wrong is found, and named', async () => {
    const nextUp = (value: number) =>
      new Float32Array(new Uint32Array(Float32Array.of(value).buffer).map((b) => b + 1).buffer)[0]!;
    const engine = stub({
      spoil: (output, { nodes }) => {
        if (nodes.some((node) => isKind(node, 'batchNorm'))) output[7] = nextUp(output[7]!);
      },
    });
    const failures = failuresOf(await checkDyadic(scaled, [engine], 1));
    expect(failures.map(row)).toEqual([['m', 'stub', 'reference', 'fail']]);
    expect(failures[0]!.comparison).toMatchObject({ compared: 60, failures: 1, worstRatio: 1, worst: [{ index: 7 }] });
  });

  test('too few elements, no number, or an error', async () => {
    const short: Engine = {
      ...stub(),
      load: async () => ({ run: async () => ({ shape: [1], data: new Float32Array(1) }), dispose: async () => {} }),
    };
    const spoilt = stub({ spoil: (output) => output.fill(Number.NaN) });
    const broken = stub({
      onLoad: () => {
        throw new Error('out of memory');
      },
    });
    for (const engine of [short, spoilt, broken]) {
      const verdicts = (await checkDyadic(scaled, [engine], 1)).map(({ comparison }) => comparison.verdict);
      expect(verdicts).toEqual(['fail', 'fail', 'fail', 'fail']);
    }
    const [finding] = await checkDyadic(scaled, [broken], 1);
    expect(finding!.comparison.reason).toBe('out of memory');
  });

  test('is found out on whatever values the seed makes', async () => {
    const inputs = async (seed: number) => {
      const seen: string[] = [];
      await checkDyadic(scaled, [stub({ spoil: (output) => seen.push(output.join()) })], seed);
      return seen;
    };
    expect(await inputs(1)).toEqual(await inputs(1));
    const [one, other] = [await inputs(1), await inputs(2)];
    expect(one).toHaveLength(4);
    expect(one.filter((values, i) => values === other[i])).toEqual([]);
  });
});

describe('inconclusive is', () => {
  const reasonsOf = async (fusion: Fusion, engine: Engine) =>
    failuresOf(await checkDyadic(fusion, [engine], 1)).map(({ piece, form, comparison }) => [
      piece,
      form,
      comparison.verdict,
      comparison.reason,
    ]);

  test('an op that the engine refuses', async () => {
    const onLoad = ({ output }: Network) => {
      if (output === 'act') throw new UnsupportedOp('no relu');
    };
    expect(await reasonsOf(scaled, stub({ onLoad }))).toEqual([['act', 'both', 'inconclusive', 'no relu']]);
  });

  test('a factor that is no short binary fraction', async () => {
    const reasons = await reasonsOf(fuse(network({ kind: 'scale', factor: 1 / 3 })), stub());
    expect(reasons.map(([piece, form, verdict]) => [piece, form, verdict])).toEqual([['last', 'both', 'inconclusive']]);
    expect(reasons[0]![3]).toMatch(
      /^a sum may reach 0\.66\d+, which is 12009599006321322 steps of 5\.55\S+; up to 16777216 are sure/,
    );
  });

  test('a precision in which the sums might be rounded', async () => {
    // Three products of at most 2 * 2, plus a mean of 2, times 4, plus 2, in steps of a quarter: up to 232.
    const low: Precision = { ...precision, unitRoundoff: 2 ** -5 };
    const reasons = await reasonsOf(scaled, stub({ precision: low }));
    expect(reasons.map(([piece, form]) => [piece, form])).toEqual([
      ['m', 'reference'],
      ['m', 'deploy'],
    ]);
    expect(await reasonsOf(scaled, stub({ precision: { ...precision, unitRoundoff: 2 ** -8 } }))).toEqual([]);
  });

  test('a precision that overflows on the way', async () => {
    const small: Precision = { ...precision, largest: 4 };
    const reasons = await reasonsOf(scaled, stub({ precision: small }));
    expect(reasons.map(([piece, form]) => [piece, form])).toEqual([
      ['m', 'reference'],
      ['m', 'deploy'],
    ]);
    expect(reasons[0]![3]).toMatch(/^a sum may reach \d+, which is beyond 4$/);
  });

  test('a sum of all that stands behind a window', async () => {
    const builder = new NetworkBuilder('window');
    const normed = builder.add('prebn', { kind: 'batchNorm', eps: 1e-5 }, [builder.input('input', [1, 1, 1, 1])]);
    const cut = builder.add('partition', { kind: 'partition', window: [1, 1], sets: 1 }, [normed]);
    const mixed = builder.add('fc3', { kind: 'setLinear', bias: true }, [cut]);
    const train = builder.build(builder.add('join', { kind: 'departition', channels: 1, parts: [1, 1] }, [mixed]));
    const [gamma, beta, mean, variance, weight, bias] = [...dyadicWeights(train, 1).values()].map(
      ({ data }) => data[0]!,
    );
    const x = dyadicInput([1, 1, 1, 1], 1, 'input').data[0]!;
    const scale = gamma! / Math.sqrt(variance! + DYADIC_EPS);
    const terms = [scale * weight! * x, (beta! - mean! * scale) * weight!, bias!];
    const largest = terms.reduce((sum, term) => sum + Math.abs(term), 0);
    const reasons = await reasonsOf(fuse(train), stub({ precision: { ...precision, largest: 0 } }));
    expect(reasons.at(-1)).toEqual(['fc3', 'deploy', 'inconclusive', `a sum may reach ${largest}, which is beyond 0`]);
  });

  test('a precision that underflows on the way', async () => {
    const coarse: Precision = { ...precision, underflow: 2 ** -24 };
    const reasons = await reasonsOf(scaled, stub({ precision: coarse }));
    expect(reasons.map(([piece, form, , reason]) => [piece, form, reason])).toEqual([
      ['m', 'reference', 'a term may be as small as 0.5'],
      ['m', 'deploy', 'a term may be as small as 0.5'],
      ['last', 'both', 'a term may be as small as 0.5'],
    ]);
  });

  test('a window so large that its sums might be rounded', async () => {
    const windows = (pixels: number): Fusion => {
      const builder = new NetworkBuilder('windows');
      const mixed = builder.add('fc3', { kind: 'setLinear', bias: false }, [builder.input('input', [1, 1, 1, pixels])]);
      return fuse(builder.build(builder.add('fc3_bn', { kind: 'batchNorm', eps: 1e-5 }, [mixed])));
    };
    const engine = stub({ precision: { ...precision, unitRoundoff: 2 ** -11 } });
    expect(await reasonsOf(windows(64), engine)).toEqual([]);
    const reasons = await reasonsOf(windows(1024), engine);
    expect(reasons.map(([piece, form]) => [piece, form])).toEqual([
      ['fc3', 'reference'],
      ['fc3', 'deploy'],
    ]);
  });
});

describe('what is run', () => {
  test('GELU and sigmoid are not', async () => {
    for (const kind of ['gelu', 'sigmoid'] as const) {
      const findings = await checkDyadic(fuse(network({ kind })), [stub()], 1);
      expect(findings.map(({ piece }) => piece)).toEqual(['m', 'm', 'act']);
    }
  });

  test('the mean, over a power of two of pixels', async () => {
    const shapes: string[] = [];
    const onLoad = ({ output, nodes }: Network) => {
      if (output === 'last') shapes.push(nodes[0]!.shape.join());
    };
    const findings = await checkDyadic(fuse(network({ kind: 'globalAvgPool', keepDims: true })), [stub({ onLoad })], 1);
    expect(failuresOf(findings)).toEqual([]);
    expect(shapes).toEqual(['1,3,4,8']);
  });

  test('a kernel on a map on which all its taps are used', async () => {
    const wide = { kind: 'conv2d', ...pixel, kernel: [5, 3], dilation: [1, 3], outChannels: 2, bias: true } as const;
    const shapes: string[] = [];
    const onLoad = ({ output, nodes }: Network) => {
      if (output === 'last') shapes.push(nodes[0]!.shape.join());
    };
    await checkDyadic(fuse(network(wide)), [stub({ onLoad })], 1);
    expect(shapes).toEqual(['1,3,9,14']);
  });

  test('pieces of one make, once', async () => {
    const builder = new NetworkBuilder('twice');
    const a = builder.add('a', { kind: 'relu' }, [builder.input('input', [1, 3, 20, 20])]);
    const b = builder.add('b', { kind: 'relu' }, [a]);
    for (const [name, terms] of [
      ['c', [a, b]],
      ['d', [b, a]],
      ['e', [b, b]],
      ['f', [a, b, a]],
      ['g', [a, b, b]],
    ] as const) {
      builder.add(name, { kind: 'add' }, terms);
    }
    const findings = await checkDyadic(fuse(builder.build('g')), [stub()], 1);
    // Another wiring is another make; other names are not.
    expect(findings.map(({ piece }) => piece)).toEqual(['a', 'c', 'e', 'f', 'g']);
  });

  test('one deploy node after another, where different regions become it', async () => {
    const builder = new NetworkBuilder('regions');
    const same = { ...pixel, kernel: [3, 3], padding: [1, 1], groups: 3, outChannels: 3 } as const;
    const conv = builder.add('a.c', { kind: 'conv2d', ...same, bias: false }, [builder.input('input', [1, 3, 9, 9])]);
    const active = builder.add('act', { kind: 'relu' }, [
      builder.add('a.bn', { kind: 'batchNorm', eps: 1e-5 }, [conv]),
    ]);
    const branch = builder.add('b.c', { kind: 'conv2d', ...same, bias: true }, [active]);
    const fusion = fuse(builder.build(builder.add('b.add', { kind: 'add' }, [branch, active])));
    const findings = await checkDyadic(fusion, [stub()], 1);
    expect(findings.map(row)).toEqual([
      ['a', 'stub', 'reference', 'pass'],
      ['a', 'stub', 'deploy', 'pass'],
      ['act', 'stub', 'both', 'pass'],
      ['b', 'stub', 'reference', 'pass'],
      ['b', 'stub', 'deploy', 'pass'],
    ]);
  });

  test('share-sets of few channels in windows as they are', async () => {
    const config = {
      ...repMlpNet.variants[0]!.config,
      channels: [24],
      hs: [4],
      ws: [4],
      num_blocks: [1],
      sharesets_nums: [3],
    };
    const train = repMlpNet.build(config, { batch: 1, height: 32, width: 16 });
    const shapes = new Map<string, string>();
    const onLoad = ({ output, nodes }: Network) => {
      const kinds = nodes.map(({ op }) => op.kind).join(' ');
      shapes.set(`${output.replace(/^stages\.0\.0\.repmlp_block\.?/, '')}: ${kinds}`, nodes[0]!.shape.join());
    };
    for (const form of deployForms(train)) {
      expect(failuresOf(await checkDyadic(fuseTo(form, train), [stub({ onLoad })], 1))).toEqual([]);
    }
    const windowed = [...shapes].filter(([kinds]) => /partition|etLinear|windowLinear/.test(kinds));
    expect(Object.fromEntries(windowed)).toEqual({
      'partition: input partition': '1,6,8,4',
      'fc3: input setLinear': '2,3,4,4',
      'add: input setLinear batchNorm conv2d batchNorm conv2d batchNorm add': '2,3,4,4',
      'departition: input departition': '4,3,4,4',
      'departition: input batchNorm partition setLinear batchNorm conv2d batchNorm conv2d batchNorm add departition':
        '1,6,8,4',
      'fc3: input windowLinear': '1,6,8,4',
    });
  });
});

test('a RepMLPNet of the largest windows, 64x64, leaves nothing open', async () => {
  const side = 32;
  const config = {
    ...repMlpNet.variants[0]!.config,
    channels: [4],
    hs: [side],
    ws: [side],
    num_blocks: [1],
    sharesets_nums: [2],
  };
  const train = repMlpNet.build(config, { batch: 1, height: 4 * side, width: 4 * side });
  // Sums over a quarter of the pixels, held against a quarter of what float32 takes.
  const engine = stub({ precision: { ...precision, unitRoundoff: 2 ** -22 } });
  for (const form of deployForms(train)) {
    const findings = await checkDyadic(fuseTo(form, train), [engine], 1);
    expect(failuresOf(findings)).toEqual([]);
    expect(findings.length).toBeGreaterThan(15);
  }
});

test('a corrupted fusion is a finding, not a crash', async () => {
  const nodes = scaled.network.nodes.map((node) =>
    isKind(node, 'conv2d') ? { ...node, op: { ...node.op, groups: 2 } } : node,
  );
  const unfit = await checkDyadic({ ...scaled, network: { ...scaled.network, nodes } }, [stub()], 1);
  expect(failuresOf(unfit).map(row)).toEqual([['m', 'stub', 'deploy', 'fail']]);
});

type Change = <T>(field: Field<T>, weight: T) => T;

test.each<[string, Change, RegExp]>([
  [
    'adds 2^-40: it rounds',
    (field, weight) => field.add(weight, field.of(2 ** -40)),
    /^fusing rounds: \S+ is not exact in float32$/,
  ],
  [
    'adds 2^-60: it rounds',
    (field, weight) => field.add(weight, field.of(2 ** -60)),
    /^fusing rounds: \S+ \+ \S+ is not exact in float64$/,
  ],
  [
    'divides by zero',
    (field, weight) => field.div(weight, field.of(0)),
    /^fusing rounds: -?Infinity is not exact in float32$/,
  ],
])('a rule that %s: inconclusive', async (_what, change, reason) => {
  const steps = scaled.steps.map((step) => {
    const weights: FusedWeights = (field, source) => {
      const made = step.weights(field, source);
      made.weight![0] = change(field, made.weight![0]!);
      return made;
    };
    return { ...step, weights };
  });
  const failures = failuresOf(await checkDyadic({ ...scaled, steps }, [stub()], 1));
  expect(failures.map(row)).toEqual([['m', 'stub', 'deploy', 'inconclusive']]);
  expect(failures[0]!.comparison.reason).toMatch(reason);
});

test('a seed that is none is refused', async () => {
  await expect(checkDyadic(scaled, [stub()], -1)).rejects.toThrow(InputError);
});
