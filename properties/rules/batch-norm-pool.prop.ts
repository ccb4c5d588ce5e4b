import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rules as allRules, fuse } from '../../src/fused/fuse.ts';
import { batchNormPool } from '../../src/fused/rules/batch-norm-pool.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import type { OpOf } from '../../src/network/ops.ts';
import { batchNormPoolFaults } from '../../src/verify/faults/norms.ts';
import { epsOf, normPool, type PoolDraw, pools, type Values, values } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [batchNormPool];
const networkOf = (draw: PoolDraw, drawn: Values) => normPool(draw, epsOf(drawn));
const anyMap = pools(1, 2, 3, 5);

describe(`batch-norm-pool, seed ${seed}`, () => {
  test('the layer computes what both did, on the pooled input of the batch norm, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(anyMap, values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'globalAvgPool', draw.layer);
        const [, pool, layer] = fusion.network.nodes;
        expect([pool?.inputs, layer?.inputs]).toEqual([['input'], ['m.pool']]);
        expect(fusion.regions[0]).toMatchObject({ deploy: layer?.name, inner: ['m.pool'], shared: ['m.bn'] });
        expect(fusion.sameValue.has('m.pool')).toBe(false);
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test('exactly, where no result is rounded', async () => {
    // A mean of 1, 2, 4, 8 or 16 numbers divides by a power of two.
    await fc.assert(
      fc.asyncProperty(pools(1, 2, 4), values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'globalAvgPool', draw.layer);
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test.each(batchNormPoolFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, anyMap, networkOf, values('balanced'));
  });
});

const norm = { kind: 'batchNorm', eps: 2 ** -17 } as const;
const pool = { kind: 'globalAvgPool', keepDims: true } as const;
const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: true,
};
const exact: Values = { regime: 'dyadic', seed, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };

/** A gate from the pooled batch norm, on another reader of that. */
function gated(reader: (builder: NetworkBuilder, normed: string) => string) {
  const builder = new NetworkBuilder('gated');
  const normed = builder.add('bn', norm, [builder.input('input', [2, 4, 4, 2])]);
  const gate = builder.add('fc', conv, [builder.add('pool', pool, [normed])]);
  return builder.build(builder.add('mul', { kind: 'mul' }, [reader(builder, normed), gate]));
}

describe('a batch norm with another reader', () => {
  test('is folded for this one, and stays for the other', async () => {
    const network = gated((builder, normed) => builder.add('act', { kind: 'relu' }, [normed]));
    const fusion = fuse(network, rules);
    const nodes = fusion.network.nodes.map(({ name, inputs }) => [name, inputs]);
    expect(nodes).toEqual([
      ['input', []],
      ['bn', ['input']],
      ['pool', ['input']],
      ['fc', ['pool']],
      ['act', ['bn']],
      ['mul', ['act', 'fc']],
    ]);
    expect(fusion.regions).toEqual([
      { deploy: 'fc', reference: ['bn', 'pool', 'fc'], shared: ['bn'], inner: ['pool'], rules: ['batch-norm-pool'] },
    ]);
    await expectSameNumbers(fusion, exact);
  });

  test('is gone where that one folds it, too', async () => {
    const network = gated((builder, normed) => builder.add('c', { ...conv, bias: false }, [normed]));
    const fusion = fuse(network, allRules);
    expect(fusion.network.nodes.map(({ name }) => name)).toEqual(['input', 'pool', 'fc', 'c', 'mul']);
    await expectEqualForms(fusion, exact);
    await expectSameNumbers(fusion, exact);
  });
});

describe('batch-norm-pool leaves alone', () => {
  const build = (add: (builder: NetworkBuilder, normed: string) => string) => {
    const builder = new NetworkBuilder('refused');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 4, 4, 2])]);
    return builder.build(add(builder, normed));
  };

  test('a padded convolution: beta would leak into the padding', () => {
    const network = build((builder, normed) =>
      builder.add('c', { ...conv, kernel: [3, 3], padding: [1, 1] }, [builder.add('pool', pool, [normed])]),
    );
    expectUnchanged(network, rules);
  });

  test('a pool with a second reader', () => {
    const network = build((builder, normed) => {
      const pooled = builder.add('pool', pool, [normed]);
      return builder.add('add', { kind: 'add' }, [builder.add('c', conv, [pooled]), pooled]);
    });
    expectUnchanged(network, rules);
  });

  test("a pool that is the network's output", () => {
    const network = build((builder, normed) => {
      const pooled = builder.add('pool', pool, [normed]);
      builder.add('c', conv, [pooled]);
      return pooled;
    });
    expectUnchanged(network, rules);
  });

  test.each(['before', 'behind'])('an activation %s the pool', (where) => {
    const network = build((builder, normed) => {
      const relu = (x: string) => builder.add('act', { kind: 'relu' }, [x]);
      const pooled = builder.add('pool', pool, [where === 'before' ? relu(normed) : normed]);
      return builder.add('c', conv, [where === 'behind' ? relu(pooled) : pooled]);
    });
    expectUnchanged(network, rules);
  });
});
