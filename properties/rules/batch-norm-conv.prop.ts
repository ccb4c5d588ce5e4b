import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rules as allRules, fuse } from '../../src/fused/fuse.ts';
import { batchNormConv } from '../../src/fused/rules/batch-norm-conv.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import type { OpOf } from '../../src/network/ops.ts';
import { batchNormBeforePadding, batchNormConvFaults } from '../../src/verify/faults/norms.ts';
import {
  type ConvDraw,
  convolutions,
  epsOf,
  normConv,
  unpaddedConvolutions,
  type Values,
  values,
} from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [batchNormConv];
const networkOf = (draw: ConvDraw, drawn: Values) => normConv(draw, epsOf(drawn));

/** Padded along one axis at least. */
const padded = convolutions().filter(({ op }) => op.padding.some((pad) => pad > 0));

describe(`batch-norm-conv, seed ${seed}`, () => {
  test('one convolution without padding computes what both did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(unpaddedConvolutions, values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'conv2d');
        expect(fusion.network.nodes.at(-1)!.op).toEqual({ ...draw.op, bias: true });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(unpaddedConvolutions, values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'conv2d');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test.each(batchNormConvFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, unpaddedConvolutions, networkOf, values('balanced'));
  });

  test('leaves alone every padded convolution', () => {
    fc.assert(
      fc.property(padded, (draw) => expectUnchanged(normConv(draw, 1e-5), rules)),
      propertyOptions(100),
    );
  });

  test('geo-bn-before-padding is caught', async () => {
    await expectCaught(batchNormBeforePadding, rules, padded, networkOf, values('balanced'));
  });
});

const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 3,
  kernel: [2, 3],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: false,
};
const norm = { kind: 'batchNorm', eps: 2 ** -17 } as const;
const exact: Values = { regime: 'dyadic', seed, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };

describe('a batch norm with several readers', () => {
  const kept = (fusion: ReturnType<typeof fuse>) => fusion.network.nodes.map(({ name }) => name);

  test('is folded for each of two convolutions, and is gone', async () => {
    const builder = new NetworkBuilder('two');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 3, 4, 5])]);
    const convolved = ['a', 'b'].map((name) => builder.add(name, conv, [normed]));
    const active = builder.add('act', { kind: 'relu' }, [convolved[1]!]);
    const fusion = fuse(builder.build(builder.add('add', { kind: 'add' }, [convolved[0]!, active])), rules);
    expect(kept(fusion)).toEqual(['input', 'a', 'b', 'act', 'add']);
    expect(fusion.regions).toEqual(
      ['a', 'b'].map((deploy) => ({
        deploy,
        reference: ['bn', deploy],
        shared: ['bn'],
        inner: [],
        rules: ['batch-norm-conv'],
      })),
    );
    await expectEqualForms(fusion, exact);
    await expectSameNumbers(fusion, exact);
  });

  test('is folded for a convolution, and stays for the others', async () => {
    const builder = new NetworkBuilder('other');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 3, 4, 5])]);
    const convolved = builder.add('c', { ...conv, kernel: [1, 1] }, [normed]);
    const active = builder.add('act', { kind: 'relu' }, [normed]);
    const fusion = fuse(builder.build(builder.add('add', { kind: 'add' }, [convolved, active])), rules);
    expect(kept(fusion)).toEqual(['input', 'bn', 'c', 'act', 'add']);
    expect(fusion.regions.map(({ deploy, reference, shared }) => ({ deploy, reference, shared }))).toEqual([
      { deploy: 'c', reference: ['bn', 'c'], shared: ['bn'] },
    ]);
    await expectSameNumbers(fusion, exact);
  });

  test('of which a convolution with padding is one stays for it', async () => {
    const builder = new NetworkBuilder('padded');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 3, 4, 5])]);
    const one = builder.add('c', { ...conv, kernel: [1, 1] }, [normed]);
    const three = builder.add('p', { ...conv, kernel: [3, 3], padding: [1, 1] }, [normed]);
    const active = builder.add('act', { kind: 'relu' }, [three]);
    const fusion = fuse(builder.build(builder.add('add', { kind: 'add' }, [one, active])), rules);
    expect(kept(fusion)).toEqual(['input', 'bn', 'c', 'p', 'act', 'add']);
    expect(fusion.network.nodes.find(({ name }) => name === 'p')?.inputs).toEqual(['bn']);
    await expectSameNumbers(fusion, exact);
  });

  test("stays where it is the network's output", () => {
    const builder = new NetworkBuilder('output');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 3, 4, 5])]);
    builder.add('c', conv, [normed]);
    const { network } = fuse(builder.build(normed), rules);
    expect(network.nodes.map(({ name }) => name)).toContain(network.output);
  });
});

describe('batch-norm-conv', () => {
  test('between two convolutions folds into the one before: the other may then have padding', async () => {
    const builder = new NetworkBuilder('between');
    const first = builder.add('a', conv, [builder.input('input', [2, 3, 4, 5])]);
    const normed = builder.add('bn', norm, [first]);
    const fusion = fuse(builder.build(builder.add('b', { ...conv, padding: [1, 1] }, [normed])), allRules);
    expect(fusion.regions.map(({ deploy, reference }) => [deploy, reference])).toEqual([['a', ['a', 'bn']]]);
    await expectSameNumbers(fusion, exact);
  });

  test('leaves alone a batch norm behind whose activation the convolution stands', () => {
    const builder = new NetworkBuilder('activation');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 3, 4, 5])]);
    expectUnchanged(builder.build(builder.add('c', conv, [builder.add('act', { kind: 'relu' }, [normed])])), rules);
  });
});
