import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse } from '../../src/fused/fuse.ts';
import { convBatchNorm } from '../../src/fused/rules/conv-batch-norm.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import type { OpOf } from '../../src/network/ops.ts';
import { convBatchNormFaults } from '../../src/verify/faults/kernels.ts';
import { type ConvDraw, convNorm, convolutions, epsOf, type Values, values } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [convBatchNorm];
const networkOf = (draw: ConvDraw, drawn: Values) => convNorm(draw, epsOf(drawn));

describe(`conv-batch-norm, seed ${seed}`, () => {
  test('one convolution computes what both did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(convolutions(), values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'conv2d');
        expect(fusion.network.nodes.at(-1)!.op).toEqual({ ...draw.op, bias: true });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(convolutions(), values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'conv2d');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test.each(convBatchNormFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, convolutions(), networkOf, values('balanced'));
  });
});

const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 3,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  bias: false,
};
const norm = { kind: 'batchNorm', eps: 1e-5 } as const;

describe('conv-batch-norm leaves alone', () => {
  test('a convolution with a second reader', () => {
    const builder = new NetworkBuilder('shared');
    const convolved = builder.add('c', conv, [builder.input('input', [1, 3, 4, 5])]);
    const normed = builder.add('bn', norm, [convolved]);
    expectUnchanged(builder.build(builder.add('add', { kind: 'add' }, [normed, convolved])), rules);
  });

  test('a convolution with two batch norms', () => {
    const builder = new NetworkBuilder('two norms');
    const convolved = builder.add('c', conv, [builder.input('input', [1, 3, 4, 5])]);
    const normed = ['bn1', 'bn2'].map((name) => builder.add(name, norm, [convolved]));
    expectUnchanged(builder.build(builder.add('add', { kind: 'add' }, normed)), rules);
  });

  test("a convolution whose output is the network's", () => {
    const builder = new NetworkBuilder('output');
    const convolved = builder.add('c', conv, [builder.input('input', [1, 3, 4, 5])]);
    builder.add('bn', norm, [convolved]);
    expectUnchanged(builder.build(convolved), rules);
  });

  test('a batch norm before the convolution: beta would leak into the padding', () => {
    const builder = new NetworkBuilder('before');
    const normed = builder.add('bn', norm, [builder.input('input', [1, 3, 4, 5])]);
    expectUnchanged(builder.build(builder.add('c', conv, [normed])), rules);
  });

  test('a batch norm behind the activation of a convolution', () => {
    const builder = new NetworkBuilder('activation');
    const convolved = builder.add('c', conv, [builder.input('input', [1, 3, 4, 5])]);
    const active = builder.add('act', { kind: 'relu' }, [convolved]);
    expectUnchanged(builder.build(builder.add('bn', norm, [active])), rules);
  });

  test('a batch norm behind a linear', () => {
    const builder = new NetworkBuilder('linear');
    const x = builder.add('l', { kind: 'linear', outFeatures: 3, bias: true }, [builder.input('input', [2, 4])]);
    expectUnchanged(builder.build(builder.add('bn', norm, [x])), rules);
  });
});
