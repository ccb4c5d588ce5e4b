import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse } from '../../src/fused/fuse.ts';
import { setLinearBatchNorm } from '../../src/fused/rules/set-linear-batch-norm.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import { setLinearBatchNormFaults } from '../../src/verify/faults/norms.ts';
import { epsOf, setLinearNorm, type Values, values, type WindowsDraw, windows } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [setLinearBatchNorm];
const networkOf = (draw: WindowsDraw, drawn: Values) => setLinearNorm(draw, epsOf(drawn));

describe(`set-linear-batch-norm, seed ${seed}`, () => {
  test('one layer over windows computes what both did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(windows, values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'setLinear');
        expect(fusion.network.nodes.at(-1)!.op).toEqual({ kind: 'setLinear', bias: true });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(windows, values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'setLinear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test.each(setLinearBatchNormFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, windows, networkOf, values('balanced'));
  });
});

describe('set-linear-batch-norm leaves alone', () => {
  const fc3 = { kind: 'setLinear', bias: true } as const;
  const norm = { kind: 'batchNorm', eps: 1e-5 } as const;
  const build = (add: (builder: NetworkBuilder, mixed: string) => string) => {
    const builder = new NetworkBuilder('refused');
    const mixed = builder.add('fc3', fc3, [builder.input('input', [4, 3, 2, 2])]);
    return builder.build(add(builder, mixed));
  };

  test('a layer with a second reader', () => {
    const network = build((builder, mixed) =>
      builder.add('add', { kind: 'add' }, [builder.add('bn', norm, [mixed]), mixed]),
    );
    expectUnchanged(network, rules);
  });

  test("a layer whose output is the network's", () => {
    const network = build((builder, mixed) => {
      builder.add('bn', norm, [mixed]);
      return mixed;
    });
    expectUnchanged(network, rules);
  });

  test('a batch norm behind an activation', () => {
    const network = build((builder, mixed) => builder.add('bn', norm, [builder.add('act', { kind: 'relu' }, [mixed])]));
    expectUnchanged(network, rules);
  });

  test('a batch norm behind the maps that the windows were put back to: its channels are not the share-sets', () => {
    const network = build((builder, mixed) => {
      const maps = builder.add('departition', { kind: 'departition', channels: 6, parts: [1, 1] }, [mixed]);
      return builder.add('bn', norm, [maps]);
    });
    expectUnchanged(network, rules);
  });
});
