import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse } from '../../src/fused/fuse.ts';
import { averageHeads } from '../../src/fused/rules/average-heads.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import { averageHeadsFaults } from '../../src/verify/faults/heads.ts';
import { averagedHeads, heads, values } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [averageHeads];

describe(`average-heads, seed ${seed}`, () => {
  test('one linear computes the mean of all, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(heads(2, 4), values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(averagedHeads(draw), rules);
        expectOneRegion(fusion, 'linear');
        expect(fusion.network.nodes.at(-1)!.op).toEqual({
          kind: 'linear',
          outFeatures: draw.classes,
          bias: draw.biases.includes(true),
        });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test('exactly, where no result is rounded', async () => {
    // The mean of two or of four divides by a power of two.
    await fc.assert(
      fc.asyncProperty(fc.oneof(heads(2, 2), heads(4, 4)), values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(averagedHeads(draw), rules);
        expectOneRegion(fusion, 'linear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test.each(averageHeadsFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, heads(2, 4), averagedHeads, values('balanced'));
  });
});

const linear = { kind: 'linear', outFeatures: 3, bias: true } as const;

describe('average-heads leaves alone', () => {
  test('heads of different inputs', () => {
    const builder = new NetworkBuilder('inputs');
    const x = builder.input('input', [2, 4]);
    const y = builder.add('act', { kind: 'relu' }, [x]);
    const sum = builder.add('add', { kind: 'add' }, [builder.add('a', linear, [x]), builder.add('b', linear, [y])]);
    expectUnchanged(builder.build(builder.add('mean', { kind: 'scale', factor: 0.5 }, [sum])), rules);
  });

  test('heads and another term', () => {
    const builder = new NetworkBuilder('term');
    const x = builder.input('input', [2, 4]);
    const other = builder.add('act', { kind: 'relu' }, [builder.add('c', linear, [x])]);
    const terms = [builder.add('a', linear, [x]), builder.add('b', linear, [x]), other];
    const sum = builder.add('add', { kind: 'add' }, terms);
    expectUnchanged(builder.build(builder.add('mean', { kind: 'scale', factor: 0.5 }, [sum])), rules);
  });

  test('a head with a second reader', () => {
    const builder = new NetworkBuilder('shared');
    const x = builder.input('input', [2, 4]);
    const sum = builder.add('add', { kind: 'add' }, [builder.add('a', linear, [x]), builder.add('b', linear, [x])]);
    const mean = builder.add('mean', { kind: 'scale', factor: 0.5 }, [sum]);
    expectUnchanged(builder.build(builder.add('again', { kind: 'add' }, [mean, 'a'])), rules);
  });

  test('heads behind an activation', () => {
    const builder = new NetworkBuilder('activation');
    const x = builder.input('input', [2, 4]);
    const active = ['a', 'b'].map((name) =>
      builder.add(`${name}.act`, { kind: 'sigmoid' }, [builder.add(name, linear, [x])]),
    );
    const sum = builder.add('add', { kind: 'add' }, active);
    expectUnchanged(builder.build(builder.add('mean', { kind: 'scale', factor: 0.5 }, [sum])), rules);
  });

  test("a sum that is the network's output", () => {
    const builder = new NetworkBuilder('output');
    const x = builder.input('input', [2, 4]);
    const sum = builder.add('add', { kind: 'add' }, [builder.add('a', linear, [x]), builder.add('b', linear, [x])]);
    builder.add('mean', { kind: 'scale', factor: 0.5 }, [sum]);
    expectUnchanged(builder.build(sum), rules);
  });
});
