import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse, fuseWeights } from '../../src/fused/fuse.ts';
import { batchNormWindowLinear } from '../../src/fused/rules/batch-norm-window-linear.ts';
import { windowLinear } from '../../src/fused/rules/window-linear.ts';
import { evaluateFloat64 } from '../../src/interpreters/float64.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import { weightShapesByKey } from '../../src/network/graph.ts';
import type { Network } from '../../src/network/ops.ts';
import { elements, type Weights } from '../../src/network/tensor.ts';
import { batchNormWindowLinearFaults } from '../../src/verify/faults/norms.ts';
import { epsOf, normWindows, type Values, values, type WindowsDraw, windows, windowsNorm } from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

const rules = [windowLinear, batchNormWindowLinear];
const networkOf = (draw: WindowsDraw, drawn: Values) => normWindows(draw, epsOf(drawn));

describe(`batch-norm-window-linear, seed ${seed}`, () => {
  test('one op computes what the batch norm and the layer over windows did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(windows, values('default', 'balanced', 'wild'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'windowLinear');
        const { window, sets, bias } = draw;
        expect(fusion.network.nodes.at(-1)!.op).toEqual({ kind: 'windowLinear', window, sets, bias, affine: true });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(150),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(windows, values('dyadic'), async (draw, drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'windowLinear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(150),
    );
  });

  test.each(batchNormWindowLinearFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, rules, windows, networkOf, values('balanced'));
  });

  test('a scale of the channel that is put out, not of the one read, is wrong just where windows change places', async () => {
    await fc.assert(
      fc.asyncProperty(windows, async (given) => {
        const draw = { ...given, bias: false };
        const train = normWindows(draw, 0);
        const weights = plainWeights(train);
        const fusion = fuse(train, rules);
        const expected = await outputOf(train, weights);
        expect(await outputOf(fusion.network, fuseWeights(fusion, weights))).toEqual(expected);
        const behind = await outputOf(windowsNorm(draw, 0), weights);
        const { perSet, parts } = draw;
        const isSame = behind.every((value, i) => value === expected[i]);
        expect(isSame).toBe(perSet === 1 || parts[0] * parts[1] === 1);
      }),
      propertyOptions(100),
    );
  });
});

/** fc3 the identity, and a batch norm that multiplies channel c by c + 1. */
function plainWeights(network: Network): Weights<Float32Array> {
  const values: Readonly<Record<string, (index: number, columns: number) => number>> = {
    'm.prebn.weight': (channel) => channel + 1,
    'm.prebn.running_var': () => 1,
    'm.fc3.weight': (index, columns) => (Math.floor(index / columns) % columns === index % columns ? 1 : 0),
  };
  return new Map(
    [...weightShapesByKey(network)].map(([key, shape]) => {
      const value = values[key] ?? (() => 0);
      const data = Float32Array.from({ length: elements(shape) }, (_, i) => value(i, shape[1] ?? 1));
      return [key, { shape, data }];
    }),
  );
}

/** Of the input 1, 2, 3, ...: no two elements are equal. */
async function outputOf(network: Network, weights: Weights): Promise<readonly number[]> {
  const { shape } = network.nodes[0]!;
  const input = { shape, data: Float64Array.from({ length: elements(shape) }, (_, i) => i + 1) };
  const values = await evaluateFloat64(network, weights, new Map([['input', input]]), { kernels: 'definition' });
  return [...values.get(network.output)!.data];
}

const norm = { kind: 'batchNorm', eps: 2 ** -17 } as const;
const exact: Values = { regime: 'dyadic', seed, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };
const windowed = { kind: 'windowLinear', window: [2, 3], sets: 2, bias: true, affine: false } as const;

describe('batch-norm-window-linear', () => {
  test('leaves a second batch norm before it: its scale and shift are taken', async () => {
    const builder = new NetworkBuilder('twice');
    const x = builder.add('act', { kind: 'relu' }, [builder.input('input', [2, 4, 4, 3])]);
    const first = builder.add('bn1', norm, [x]);
    const network = builder.build(builder.add('fc3', windowed, [builder.add('bn2', norm, [first])]));
    const fusion = fuse(network, rules);
    expect(fusion.network.nodes.map(({ name }) => name)).toEqual(['input', 'act', 'bn1', 'fc3']);
    await expectSameNumbers(fusion, exact);
  });

  test('folds a batch norm for this one, which stays for its other readers', async () => {
    const builder = new NetworkBuilder('shared');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 4, 4, 3])]);
    const mixed = builder.add('fc3', windowed, [normed]);
    const active = builder.add('act', { kind: 'relu' }, [normed]);
    const fusion = fuse(builder.build(builder.add('add', { kind: 'add' }, [mixed, active])), rules);
    expect(fusion.network.nodes.map(({ name, inputs }) => [name, inputs])).toEqual([
      ['input', []],
      ['bn', ['input']],
      ['fc3', ['input']],
      ['act', ['bn']],
      ['add', ['fc3', 'act']],
    ]);
    await expectSameNumbers(fusion, exact);
  });

  test('leaves alone a batch norm before an activation', () => {
    const builder = new NetworkBuilder('activation');
    const normed = builder.add('bn', norm, [builder.input('input', [2, 4, 4, 3])]);
    const active = builder.add('act', { kind: 'relu' }, [normed]);
    expectUnchanged(builder.build(builder.add('fc3', windowed, [active])), rules);
  });
});
