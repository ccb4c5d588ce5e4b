import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse, rules } from '../../src/fused/fuse.ts';
import { repVggDw } from '../../src/fused/rules/repvggdw.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import type { Network, OpOf } from '../../src/network/ops.ts';
import { repVggDwFaults } from '../../src/verify/faults/kernels.ts';
import { epsOf, type RepVggDwDraw, repVggDwNetwork, repVggDws, type Values, values } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const networkOf = (draw: RepVggDwDraw, drawn: Values) => repVggDwNetwork(draw, epsOf(drawn));

/** Weights of the scale 1 and above: much smaller ones are lost beside the identity's 1, rightly or wrongly fused. */
const felt = values('balanced').map((drawn) => ({ ...drawn, weightScale: Math.abs(drawn.weightScale) }));

describe(`repvggdw with conv-batch-norm, both flavours, seed ${seed}`, () => {
  test('one depthwise convolution computes what all branches did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(repVggDws, values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'conv2d');
        expect(fusion.network.nodes.at(-1)).toMatchObject({
          name: 'm',
          op: { kernel: draw.kernel, groups: draw.channels, bias: true },
          weights: { weight: 'm.weight', bias: 'm.bias' },
        });
        expect(new Set(fusion.regions[0]!.rules)).toEqual(new Set(['conv-batch-norm', 'repvggdw']));
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(repVggDws, values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'conv2d');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(200),
    );
  });

  test.each(repVggDwFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, repVggDws, networkOf, felt);
  });
});

type Conv = OpOf<'conv2d'>;

const depthwise: Conv = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 4,
  bias: true,
};

/** Two convolutions of one input, and their sum; `more` are further terms of it. */
function sumOf(a: Partial<Conv>, b: Partial<Conv>, more: (x: string, builder: NetworkBuilder) => string[]): Network {
  const builder = new NetworkBuilder('sum');
  const x = builder.input('input', [1, 4, 6, 5]);
  const branches = [
    builder.add('m.a', { ...depthwise, ...a }, [x]),
    builder.add('m.b', { ...depthwise, ...b }, [x]),
    ...more(x, builder),
  ];
  return builder.build(builder.add('m.add', { kind: 'add' }, branches));
}

const nothing = (): string[] => [];

describe('repvggdw leaves alone', () => {
  test.each<[string, Partial<Conv>, Partial<Conv>]>([
    ['branches of different dilation', {}, { dilation: [2, 2], padding: [2, 2] }],
    ['branches of one dilation', { dilation: [2, 2] }, { dilation: [2, 2] }],
    ['branches of stride 2', { stride: [2, 2] }, { stride: [2, 2] }],
    ['branches of different stride', { stride: [2, 2] }, { stride: [2, 2], kernel: [1, 1], padding: [0, 0] }],
    ['dense branches', { groups: 1 }, { groups: 1 }],
    ['grouped branches', { groups: 2 }, { groups: 2 }],
    ['even kernels', { kernel: [2, 2], padding: [1, 1] }, { kernel: [2, 2], padding: [1, 1] }],
    ['unpadded branches', { padding: [0, 0] }, { padding: [0, 0] }],
  ])('%s', (_name, a, b) => {
    expectUnchanged(sumOf(a, b, nothing), [repVggDw]);
  });

  test('branches of different inputs', () => {
    const builder = new NetworkBuilder('inputs');
    const x = builder.input('input', [1, 4, 6, 5]);
    const y = builder.add('act', { kind: 'relu' }, [x]);
    const branches = [builder.add('m.a', depthwise, [x]), builder.add('m.b', depthwise, [y])];
    expectUnchanged(builder.build(builder.add('m.add', { kind: 'add' }, branches)), [repVggDw]);
  });

  test('a branch with a second reader', () => {
    const network = sumOf({}, {}, nothing);
    const builder = new NetworkBuilder('shared');
    const x = builder.input('input', [1, 4, 6, 5]);
    const branches = [builder.add('m.a', depthwise, [x]), builder.add('m.b', depthwise, [x])];
    const sum = builder.add('m.add', { kind: 'add' }, branches);
    const shared = builder.build(builder.add('again', { kind: 'add' }, [sum, 'm.a']));
    expectUnchanged(shared, [repVggDw]);
    // It is the second reader: without it the same sum is merged.
    expectOneRegion(fuse(network, [repVggDw]), 'conv2d');
  });

  test('a term that is no branch', () => {
    const network = sumOf({}, {}, (x, builder) => [builder.add('m.c', { kind: 'gelu' }, [x])]);
    expectUnchanged(network, [repVggDw]);
  });

  test('the input added to itself', () => {
    const builder = new NetworkBuilder('double');
    const x = builder.input('input', [1, 4, 6, 5]);
    expectUnchanged(builder.build(builder.add('m.add', { kind: 'add' }, [x, x])), [repVggDw]);
  });

  test('a batch norm behind a sum that is no RepVGGDW', () => {
    const builder = new NetworkBuilder('residual');
    const x = builder.input('input', [1, 4, 6, 5]);
    const sum = builder.add('add', { kind: 'add' }, [x, builder.add('act', { kind: 'gelu' }, [x])]);
    expectUnchanged(builder.build(builder.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [sum])), rules);
  });
});

const exact: Values = { regime: 'dyadic', seed, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };

describe('repvggdw merges', () => {
  test.each([0, 1, 2])('%d identities and a convolution that is added twice', async (identities) => {
    const builder = new NetworkBuilder('repeated');
    const x = builder.input('input', [2, 4, 6, 5]);
    const a = builder.add('m.a', depthwise, [x]);
    const terms = [a, a, ...Array.from({ length: identities }, () => x)];
    const fusion = fuse(builder.build(builder.add('m.add', { kind: 'add' }, terms)), rules);
    expectOneRegion(fusion, 'conv2d');
    await expectSameNumbers(fusion, exact);
  });

  test('a 1x1 whose dilation means nothing', async () => {
    const fusion = fuse(
      sumOf({ kernel: [1, 1], padding: [0, 0], dilation: [2, 3] }, {}, (x) => [x]),
      rules,
    );
    expectOneRegion(fusion, 'conv2d');
    await expectSameNumbers(fusion, exact);
  });
});
