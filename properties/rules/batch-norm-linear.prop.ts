import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse } from '../../src/fused/fuse.ts';
import { batchNormLinear } from '../../src/fused/rules/batch-norm-linear.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import { epsOf, type HeadsDraw, heads, normLinear, type Values, values } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { batchNormLinearFaults } from '../faults.ts';
import { expectCaught, expectEqualForms, expectOneNode, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [batchNormLinear];
const networkOf = (draw: HeadsDraw, drawn: Values) => normLinear(draw, epsOf(drawn));

describe(`batch-norm-linear, seed ${seed}`, () => {
  test('one linear computes what both did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(heads(1, 1), values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneNode(fusion, 'linear');
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
        expectOneNode(fusion, 'linear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test.each(batchNormLinearFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, heads(1, 1), networkOf, values('balanced'));
  });
});

const norm = { kind: 'batchNorm', eps: 1e-5 } as const;
const linear = { kind: 'linear', outFeatures: 3, bias: true } as const;

describe('batch-norm-linear leaves alone', () => {
  test('a batch norm with two readers', () => {
    const builder = new NetworkBuilder('shared');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 4])]);
    const linears = ['a', 'b'].map((name) => builder.add(name, linear, [normed]));
    expectUnchanged(builder.build(builder.add('add', { kind: 'add' }, linears)), rules);
  });

  test("a batch norm whose output is the network's", () => {
    const builder = new NetworkBuilder('output');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 4])]);
    builder.add('l', linear, [normed]);
    expectUnchanged(builder.build(normed), rules);
  });

  test('a linear before its batch norm', () => {
    const builder = new NetworkBuilder('before');
    const x = builder.add('l', linear, [builder.input('input', [2, 4])]);
    expectUnchanged(builder.build(builder.add('bn', norm, [x])), rules);
  });
});
