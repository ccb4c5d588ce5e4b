import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse } from '../fused/fuse.ts';
import type { FusedWeights, Rule } from '../fused/rule.ts';
import { convBatchNorm } from '../fused/rules/conv-batch-norm.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { withInputShapes } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import { familyOf } from '../reference/families.ts';
import { variants } from '../reference/variants.ts';
import { checkExact } from './exact.ts';
import { type Finding, worstVerdict } from './findings.ts';
import { pieces } from './pieces.ts';

const verdictOf = (findings: readonly Finding[]) => worstVerdict(findings.map(({ comparison }) => comparison.verdict));
const failuresOf = (findings: readonly Finding[]) => findings.filter(({ comparison }) => comparison.verdict !== 'pass');

/** conv -> bn -> relu -> conv -> bn, as `a` and `b`. */
function twoLayers(): Network {
  const builder = new NetworkBuilder('two layers');
  const conv = {
    kind: 'conv2d',
    outChannels: 3,
    kernel: [3, 1],
    stride: [1, 1],
    padding: [1, 0],
    dilation: [1, 1],
    groups: 1,
    bias: true,
  } as const;
  const layer = (name: string, x: string) =>
    builder.add(`${name}.bn`, { kind: 'batchNorm', eps: 1e-5 }, [builder.add(`${name}.c`, conv, [x])]);
  const active = builder.add('act', { kind: 'relu' }, [layer('a', builder.input('input', [1, 2, 4, 5]))]);
  return builder.build(layer('b', active));
}

/** The rule with other weights in the node of this name. */
function withWeights(name: string, spoil: (right: FusedWeights) => FusedWeights): Rule {
  return {
    name: convBatchNorm.name,
    match(last, graph) {
      const match = convBatchNorm.match(last, graph);
      return match !== undefined && last.name === name ? { ...match, weights: spoil(match.weights) } : match;
    },
  };
}

describe('a right fusion', () => {
  const networks = variants.map(({ name, config }) => {
    const { config: small, size } = familyOf(config).miniature(config);
    return [name, familyOf(config).build(small, size)] as const;
  });
  const distinct = new Map(
    networks.map(([name, network]) => [JSON.stringify(network.nodes), [name, network] as const]),
  );

  test.each([...distinct.values()])(
    'of the miniature of %s: every piece and the whole, in every form',
    async (_name, network) => {
      for (const form of deployForms(network)) {
        const fusion = fuseTo(form, network);
        const findings = await checkExact(fusion, 5);
        expect(failuresOf(findings)).toEqual([]);
        const names = [...pieces(fusion).map((piece) => piece.name), network.name];
        expect(findings.map(({ piece }) => piece)).toEqual(names);
        expect(Math.min(...findings.map(({ comparison }) => comparison.compared))).toBeGreaterThan(0);
      }
    },
  );

  test('names rules, reference nodes, shape and elements compared', async () => {
    const findings = await checkExact(fuse(twoLayers()), 1);
    const passed = { verdict: 'pass', failures: 0, worstRatio: 0, worst: [] };
    const rules = ['conv-batch-norm'];
    expect(findings).toEqual([
      {
        tier: 'exact',
        piece: 'a',
        rules,
        reference: ['a.c', 'a.bn'],
        shape: [1, 3, 4, 5],
        comparison: { ...passed, compared: 60 },
      },
      {
        tier: 'exact',
        piece: 'act',
        rules: [],
        reference: ['act'],
        shape: [1, 3, 4, 5],
        comparison: { ...passed, compared: 60 },
      },
      {
        tier: 'exact',
        piece: 'b',
        rules,
        reference: ['b.c', 'b.bn'],
        shape: [1, 3, 4, 5],
        comparison: { ...passed, compared: 60 },
      },
      {
        tier: 'exact',
        piece: 'two layers',
        rules: [],
        reference: [],
        shape: [1, 3, 4, 5],
        comparison: { ...passed, compared: 60 },
      },
    ]);
  });
});

describe('a corrupted fusion fails, and says where', () => {
  test('a weight that is off by less than float64 can hold', async () => {
    const rule = withWeights('b.bn', (right) => (field, source) => {
      const made = right(field, source);
      const tiny = field.mul(field.of(1e-30), field.of(1e-30));
      made.bias![1] = field.add(made.bias![1]!, tiny);
      return made;
    });
    const findings = await checkExact(fuse(twoLayers(), [rule]), 1);
    expect(failuresOf(findings).map(({ piece }) => piece)).toEqual(['b', 'two layers']);
    const { comparison } = failuresOf(findings)[0]!;
    expect(comparison).toMatchObject({ verdict: 'fail', compared: 60, failures: 20, worstRatio: 1 });
    // The 20 elements of channel 1: the first five of them, equally far off.
    expect(comparison.worst.map(({ index }) => index)).toEqual([20, 21, 22, 23, 24]);
  });

  const firstTap = withWeights('b.bn', (right) => (field, source) => {
    const made = right(field, source);
    made.weight![0] = field.add(made.weight![0]!, field.of(1));
    return made;
  });

  test('the worst elements come first, in units in the last place of float32', async () => {
    const findings = await checkExact(fuse(twoLayers(), [firstTap]), 1);
    const { worst, worstRatio, failures } = failuresOf(findings)[0]!.comparison;
    // Channel 0, but its first row, where the first tap lies on the padding.
    expect(failures).toBe(15);
    expect(worst.every(({ index }) => index >= 5 && index < 20)).toBe(true);
    expect(worst.map(({ ratio }) => ratio)).toEqual(worst.map(({ ratio }) => ratio).toSorted((a, b) => b - a));
    expect(worstRatio).toBe(worst[0]!.ratio);
    const [{ actual, expected, ratio } = { actual: 0, expected: 0, ratio: 0 }] = worst;
    const unit = 2 ** (Math.floor(Math.log2(Math.abs(expected))) - 23);
    expect(Math.abs(Math.abs(actual - expected) / unit / ratio - 1)).toBeLessThan(2 ** -20);
  });

  test.each([
    ['on a map of one pixel', { kernel: [3, 3], stride: [1, 1], padding: [1, 1] }, 1],
    ['that a stride steps over', { kernel: [2, 2], stride: [3, 3], padding: [1, 1] }, 2],
  ] as const)('a tap that has padding alone to read, %s', async (_where, size, side) => {
    const builder = new NetworkBuilder('one layer');
    const op = { kind: 'conv2d', outChannels: 1, dilation: [1, 1], groups: 1, bias: false, ...size } as const;
    const conv = builder.add('b.c', op, [builder.input('input', [1, 1, side, side])]);
    const network = builder.build(builder.add('b.bn', { kind: 'batchNorm', eps: 1e-5 }, [conv]));
    const findings = await checkExact(fuse(network, [firstTap]), 1);
    // On its own map the network cannot tell.
    expect(findings.map(({ piece, comparison }) => [piece, comparison.verdict])).toEqual([
      ['b', 'fail'],
      ['one layer', 'pass'],
    ]);
  });

  test('on values that the seed decides', async () => {
    const worst = async (seed: number) =>
      failuresOf(await checkExact(fuse(twoLayers(), [firstTap]), seed))[0]!.comparison.worst;
    expect(await worst(1)).toEqual(await worst(1));
    const [one, other] = [await worst(1), await worst(4294967295)];
    expect(one.filter(({ expected }, i) => expected === other[i]!.expected)).toEqual([]);
  });

  test('a variance left without its eps: the piece alone, and the whole', async () => {
    const rule = withWeights(
      'a.bn',
      (right) => (field, source) => right({ ...field, of: (value) => field.of(value === 1e-5 ? 0 : value) }, source),
    );
    const findings = await checkExact(fuse(twoLayers(), [rule]), 1);
    expect(failuresOf(findings).map(({ piece }) => piece)).toEqual(['a', 'two layers']);
    const [piece, whole] = failuresOf(findings).map(({ comparison }) => comparison);
    expect(piece).toMatchObject({ verdict: 'fail', compared: 0 });
    expect(piece!.reason).toMatch(/^cannot be computed: \d+\/\d+ has no rational square root$/);
    expect(whole!.reason).toBe('cannot be computed: a.bias has no value');
  });

  test('a rule that makes a node of another shape', async () => {
    const rule: Rule = {
      name: convBatchNorm.name,
      match(last, graph) {
        const match = convBatchNorm.match(last, graph);
        return match?.op.kind === 'conv2d' ? { ...match, op: { ...match.op, padding: [0, 0] } } : match;
      },
    };
    const findings = await checkExact(fuse(twoLayers(), [rule]), 1);
    const reasons = failuresOf(findings).map(({ piece, comparison }) => [piece, comparison.reason]);
    expect(reasons.slice(0, 3)).toEqual([
      ['a', 'shape [1, 3, 2, 5] against [1, 3, 4, 5] expected'],
      ['act', 'cannot be computed: a has 60 values of shape [1, 3, 4, 5]; [1, 3, 2, 5] is needed'],
      ['b', 'shape [1, 3, 2, 5] against [1, 3, 4, 5] expected'],
    ]);
    expect(reasons.slice(3)).toEqual([['two layers', expect.stringMatching(/^cannot be computed: act has 30 values/)]]);
  });

  test('a rule that makes too few weights, or none', async () => {
    const short: FusedWeights = (field) => ({ weight: field.array(1), bias: field.array(3) });
    const none: FusedWeights = () => ({});
    for (const wrong of [short, none]) {
      const findings = await checkExact(fuse(twoLayers(), [withWeights('b.bn', () => wrong)]), 1);
      expect(failuresOf(findings).map(({ piece }) => piece)).toEqual(['b', 'two layers']);
      expect(failuresOf(findings)[0]!.comparison.reason).toMatch(/^cannot be computed: /);
    }
  });

  /** The fusion with its last node reading another one. */
  function rewired(input: string): Fusion {
    const fusion = fuse(twoLayers());
    const nodes = fusion.network.nodes.map((node) => (node.name === 'b' ? { ...node, inputs: [input] } : node));
    return { ...fusion, network: { ...fusion.network, nodes } };
  }

  test('a node that reads another value of the same shape', async () => {
    const findings = await checkExact(rewired('a'), 1);
    expect(failuresOf(findings).map(({ piece }) => piece)).toEqual(['b', 'two layers']);
    expect(failuresOf(findings)[0]!.comparison).toMatchObject({ verdict: 'fail', compared: 60 });
  });

  test('a node that reads a value of another shape, and one that is not there', async () => {
    const findings = await checkExact(rewired('input'), 1);
    expect(failuresOf(findings).map(({ piece }) => piece)).toEqual(['b', 'two layers']);
    const lost = await checkExact(rewired('nowhere'), 1);
    expect(lost.map(({ piece, comparison }) => [piece, comparison.verdict])).toEqual([['two layers', 'fail']]);
    expect(lost[0]!.comparison.reason).toBe('cannot be computed: nowhere is not a node of two layers');
  });

  test('a network that leaves its activation out: the whole alone can tell', async () => {
    const fusion = fuse(twoLayers());
    const nodes = fusion.network.nodes.flatMap((node) => {
      if (node.name === 'act') return [];
      return node.name === 'b' ? [{ ...node, inputs: ['a'] }] : [node];
    });
    const sameValue = new Map([...fusion.sameValue].map(([name, source]) => [name, name === 'a' ? 'act' : source]));
    const findings = await checkExact({ ...fusion, network: { ...fusion.network, nodes }, sameValue }, 1);
    expect(verdictOf(findings.slice(1, -1))).toBe('pass');
    expect(findings.at(-1)!.comparison).toMatchObject({ verdict: 'fail', compared: 60 });
  });
});

test('a network whose tensors have no elements is no pass', async () => {
  const builder = new NetworkBuilder('empty');
  const network = builder.build(builder.add('act', { kind: 'relu' }, [builder.input('input', [1, 3])]));
  const findings = await checkExact(fuse(withInputShapes(network, new Map([['input', [0, 3]]]))), 1);
  expect(findings.map(({ piece, shape, comparison }) => [piece, shape, comparison])).toEqual(
    ['act', 'empty'].map((name) => [
      name,
      [0, 3],
      { verdict: 'nothing compared', compared: 0, failures: 0, worstRatio: 0, worst: [] },
    ]),
  );
});

test('a seed that is none is refused', async () => {
  await expect(checkExact(fuse(twoLayers()), 2 ** 32)).rejects.toThrow(InputError);
});
