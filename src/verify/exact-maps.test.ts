import { describe, expect, test } from 'vitest';
import type { Field } from '../fused/field.ts';
import { fuse } from '../fused/fuse.ts';
import type { FusedWeights, Rule } from '../fused/rule.ts';
import { convBatchNorm } from '../fused/rules/conv-batch-norm.ts';
import { repVggDw } from '../fused/rules/repvggdw.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, OpOf } from '../network/ops.ts';
import { checkExact } from './exact.ts';

const SEED = 4;
const depthwise: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 1,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  bias: false,
};

/** conv -> bn of one channel, on a map of `length` x `length` pixels. */
function convNorm(op: Partial<OpOf<'conv2d'>>, length: number): Network {
  const builder = new NetworkBuilder('conv-norm');
  const convolved = builder.add('m.c', { ...depthwise, ...op }, [builder.input('input', [1, 1, length, length])]);
  return builder.build(builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved]));
}

/** The sum of a 3x3 convolution and a 1x1. */
function twoBranches(length: number): Network {
  const builder = new NetworkBuilder('branches');
  const x = builder.input('input', [1, 1, length, length]);
  const branches = [
    builder.add('m.a', depthwise, [x]),
    builder.add('m.b', { ...depthwise, kernel: [1, 1], padding: [0, 0] }, [x]),
  ];
  return builder.build(builder.add('m.add', { kind: 'add' }, branches));
}

/** The rule, but for the first tap. */
function firstTapOff(rule: Rule): Rule {
  return {
    name: rule.name,
    match(last, graph) {
      const match = rule.match(last, graph);
      if (match === undefined) return undefined;
      const weights: FusedWeights = <T>(field: Field<T>, source: Parameters<typeof match.weights<T>>[1]) => {
        const fused = match.weights(field, source);
        fused.weight![0] = field.add(fused.weight![0]!, field.of(1));
        return fused;
      };
      return { ...match, weights };
    },
  };
}

describe('a tap that meets nothing but padding on the own map', () => {
  test.each<[string, number, Network, Rule]>([
    ['of a convolution', 3, convNorm({}, 1), convBatchNorm],
    ['of a dilated convolution', 5, convNorm({ dilation: [2, 2], padding: [2, 2] }, 2), convBatchNorm],
    ['of a sum of convolutions', 3, twoBranches(1), repVggDw],
  ])('%s is seen on one of %d rows', async (_name, rows, network, rule) => {
    const [right] = await checkExact(fuse(network, [rule]), SEED);
    expect(right).toMatchObject({ shape: [1, 1, rows, rows], comparison: { verdict: 'pass', compared: rows ** 2 } });
    const [wrong] = await checkExact(fuse(network, [firstTapOff(rule)]), SEED);
    expect(wrong!.comparison.verdict).toBe('fail');
    expect(wrong!.comparison.failures).toBeGreaterThan(0);
  });

  test.each([
    [15, 15],
    [17, 2],
  ])('of a kernel of %d rows: the map has %d', async (kernel, rows) => {
    const padding = (kernel - 1) / 2;
    const network = convNorm({ kernel: [kernel, kernel], padding: [padding, padding] }, 2);
    const [finding] = await checkExact(fuse(network, [convBatchNorm]), SEED);
    expect(finding).toMatchObject({ shape: [1, 1, rows, rows], comparison: { verdict: 'pass', compared: rows ** 2 } });
  });
});

test('what cannot be computed has no shape and no elements', async () => {
  const broken: Rule = {
    name: 'broken',
    match(last, graph) {
      const match = convBatchNorm.match(last, graph);
      return match && { ...match, weights: () => ({}) };
    },
  };
  const findings = await checkExact(fuse(convNorm({}, 2), [broken]), SEED);
  for (const { shape, comparison } of findings) {
    expect(shape).toEqual([]);
    expect(comparison).toMatchObject({
      verdict: 'fail',
      compared: 0,
      failures: 0,
      worstRatio: Number.POSITIVE_INFINITY,
      worst: [],
      reason: expect.stringMatching(/^cannot be computed: /),
    });
  }
  expect(findings).toHaveLength(2);
});
