import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse, fuseWeights } from '../../src/fused/fuse.ts';
import { windowLinear } from '../../src/fused/rules/window-linear.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import type { Pair } from '../../src/network/ops.ts';
import { perChannelWindow, windowLinearFaults } from '../../src/verify/faults/windows.ts';
import { type Values, values, type WindowsDraw, weightsFor, windowNetwork, windows } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [windowLinear];
const exact: Values = { regime: 'dyadic', seed, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };

describe(`window-linear, seed ${seed}`, () => {
  test('one op computes what the three did, with the same weights, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(windows, values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const network = windowNetwork(draw);
        const fusion = fuse(network, rules);
        expectOneRegion(fusion, 'windowLinear');
        const { window, sets, bias } = draw;
        const node = fusion.network.nodes.at(-1)!;
        expect(node.op).toEqual({ kind: 'windowLinear', window, sets, bias, affine: false });
        const weights = weightsFor(network, drawn);
        const fused = fuseWeights(fusion, weights);
        const roles = bias ? (['weight', 'bias'] as const) : (['weight'] as const);
        expect(fused.size).toBe(roles.length);
        for (const role of roles) {
          const given = weights.get(`m.fc3.${role}`)!;
          expect(fused.get(node.weights[role]!)).toEqual({ shape: given.shape, data: new Float64Array(given.data) });
        }
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(windows, values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(windowNetwork(draw), rules);
        expectOneRegion(fusion, 'windowLinear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(100),
    );
  });

  test('a share-set for every channel, each with the weights of its own, is the same map of one window', async () => {
    // What makes `geo-set-order` and `geo-partition-order` wrong is the order alone.
    const single = windows.map((draw): WindowsDraw => ({ ...draw, parts: [1, 1] }));
    await fc.assert(
      fc.asyncProperty(single, values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(windowNetwork(draw), [perChannelWindow.rule]);
        expect(fusion.network.nodes.at(-1)!.op).toMatchObject({ sets: draw.perSet * draw.sets });
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(40),
    );
  });

  test.each(windowLinearFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, windows, windowNetwork, values('balanced'));
  });
});

describe('window-linear leaves alone', () => {
  const fc3 = { kind: 'setLinear', bias: true } as const;

  /** 6 channels of 4x6 pixels in windows of 2x3, put back as `channels` and `parts` say. */
  function cut(channels: number, parts: Pair, between?: 'relu') {
    const builder = new NetworkBuilder('cut');
    const x = builder.input('input', [2, 6, 4, 6]);
    const windowed = builder.add('partition', { kind: 'partition', window: [2, 3], sets: 3 }, [x]);
    const mixed = builder.add('fc3', fc3, [windowed]);
    const active = between === undefined ? mixed : builder.add('act', { kind: between }, [mixed]);
    return builder.build(builder.add('departition', { kind: 'departition', channels, parts }, [active]));
  }

  test.each<[string, number, Pair]>([
    ['in a row', 6, [1, 4]],
    ['in a column', 6, [4, 1]],
    ['as twice the channels', 12, [2, 1]],
    ['as twice the images', 3, [2, 2]],
    ['as half the channels, each twice as large', 3, [4, 2]],
  ])('windows that are put back %s', (_name, channels, parts) => {
    expectUnchanged(cut(channels, parts), rules);
  });

  test('windows with an activation', () => {
    expectUnchanged(cut(6, [2, 2], 'relu'), rules);
  });

  test('but not windows that are put back to the map that they were cut from', async () => {
    const fusion = fuse(cut(6, [2, 2]), rules);
    expectOneRegion(fusion, 'windowLinear');
    await expectSameNumbers(fusion, exact);
  });

  test('windows that another node reads', () => {
    const builder = new NetworkBuilder('shared');
    const x = builder.input('input', [2, 6, 4, 6]);
    const windowed = builder.add('partition', { kind: 'partition', window: [2, 3], sets: 3 }, [x]);
    const mixed = builder.add('fc3', fc3, [windowed]);
    const back = { kind: 'departition', channels: 6, parts: [2, 2] } as const;
    const maps = [mixed, windowed].map((from, i) => builder.add(`departition${i}`, back, [from]));
    expectUnchanged(builder.build(builder.add('add', { kind: 'add' }, maps)), rules);
  });
});
