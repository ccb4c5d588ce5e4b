import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse } from '../../src/fused/fuse.ts';
import { batchNormLinear } from '../../src/fused/rules/batch-norm-linear.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import { batchNormLinearFaults } from '../../src/verify/faults/norms.ts';
import { epsOf, type HeadsDraw, heads, normLinear, type Values, values } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [batchNormLinear];
const networkOf = (draw: HeadsDraw, drawn: Values) => normLinear(draw, epsOf(drawn));

describe(`batch-norm-linear, seed ${seed}`, () => {
  test('one linear computes what both did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(heads(1, 1), values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'linear');
        expect(fusion.network.nodes.at(-1)!.op).toEqual({ kind: 'linear', outFeatures: draw.classes, bias: true });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(heads(1, 1), values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'linear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test.each(batchNormLinearFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, heads(1, 1), networkOf, values('balanced'));
  });
});

const norm = { kind: 'batchNorm', eps: 2 ** -17 } as const;
const exact: Values = { regime: 'dyadic', seed, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };
const linear = { kind: 'linear', outFeatures: 3, bias: true } as const;

describe('a batch norm with several readers', () => {
  const build = (add: (builder: NetworkBuilder, normed: string) => string) => {
    const builder = new NetworkBuilder('shared');
    return builder.build(add(builder, builder.add('bn', norm, [builder.input('input', [2, 4])])));
  };

  test('is folded for each of two linears, and is gone', async () => {
    const network = build((builder, normed) => {
      const [a, b] = ['a', 'b'].map((name) => builder.add(name, linear, [normed]));
      return builder.add('add', { kind: 'add' }, [a!, builder.add('act', { kind: 'relu' }, [b!])]);
    });
    const fusion = fuse(network, rules);
    expect(fusion.network.nodes.map(({ name }) => name)).toEqual(['input', 'a', 'b', 'act', 'add']);
    await expectEqualForms(fusion, exact);
    await expectSameNumbers(fusion, exact);
  });

  test('is folded for a linear, and stays for the others', async () => {
    const network = build((builder, normed) => {
      const l = builder.add('l', { ...linear, outFeatures: 4 }, [normed]);
      return builder.add('add', { kind: 'add' }, [l, builder.add('act', { kind: 'relu' }, [normed])]);
    });
    const fusion = fuse(network, rules);
    expect(fusion.network.nodes.map(({ name, inputs }) => [name, inputs])).toEqual([
      ['input', []],
      ['bn', ['input']],
      ['l', ['input']],
      ['act', ['bn']],
      ['add', ['l', 'act']],
    ]);
    await expectSameNumbers(fusion, exact);
  });

  test("stays where it is the network's output", () => {
    const network = build((builder, normed) => {
      builder.add('l', linear, [normed]);
      return normed;
    });
    expect(fuse(network, rules).network.nodes.map(({ name }) => name)).toContain('bn');
  });
});

describe('batch-norm-linear leaves alone', () => {
  test('a linear before its batch norm', () => {
    const builder = new NetworkBuilder('before');
    const x = builder.add('l', linear, [builder.input('input', [2, 4])]);
    expectUnchanged(builder.build(builder.add('bn', norm, [x])), rules);
  });

  test('a linear behind the activation of a batch norm', () => {
    const builder = new NetworkBuilder('activation');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 4])]);
    expectUnchanged(builder.build(builder.add('l', linear, [builder.add('act', { kind: 'relu' }, [normed])])), rules);
  });
});
