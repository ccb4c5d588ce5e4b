import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import type { Network, Op } from '../network/ops.ts';
import { FLOAT32, FLOAT64 } from '../network/precision.ts';
import { errorBound } from './bounds.ts';
import { Evaluated, outputOf } from './evaluated.ts';

const inputs = new Map([['input', { shape: [1, 2], data: Float32Array.of(1.5, -2) }]]);
const floor = 2 ** -125;
const precise = { ...FLOAT32, underflow: 2 ** -149, erf: 0 };
const rough = { ...precise, erf: 2 ** -20 };

function networkOf(...ops: readonly Op[]): Network {
  const builder = new NetworkBuilder('ops');
  const first = builder.input('input', [1, 2]);
  return builder.build(ops.reduce((x, op, i) => builder.add(`op${i}`, op, [x]), first));
}

describe('an evaluation', () => {
  test('holds what it was made of, and the output', async () => {
    const network = networkOf({ kind: 'relu' });
    const weights = new Map();
    const evaluated = await Evaluated.of(network, weights, inputs);
    expect(evaluated.network).toBe(network);
    expect(evaluated.weights).toBe(weights);
    expect(evaluated.inputs).toBe(inputs);
    expect(evaluated.output).toEqual({ shape: [1, 2], data: Float64Array.of(1.5, 0) });
    expect(await outputOf(network, weights, inputs)).toEqual(evaluated.output);
  });

  test('without GELU has the same magnitudes for every engine, computed once', async () => {
    const evaluated = await Evaluated.of(networkOf({ kind: 'relu' }, { kind: 'scale', factor: 3 }), new Map(), inputs);
    const magnitude = evaluated.magnitude(floor, precise);
    expect(evaluated.magnitude(floor, rough)).toBe(magnitude);
    expect(evaluated.magnitude(floor, FLOAT64)).toBe(magnitude);
  });

  test('with GELU has those of the erf of each engine, computed once for each', async () => {
    const evaluated = await Evaluated.of(networkOf({ kind: 'gelu' }, { kind: 'scale', factor: 3 }), new Map(), inputs);
    const [exact, coarse] = [evaluated.magnitude(floor, precise), evaluated.magnitude(floor, rough)];
    expect(evaluated.magnitude(floor, rough)).toBe(coarse);
    expect(evaluated.magnitude(floor, precise)).toBe(exact);
    const [sums, coarseSums] = [(await exact).sum.data, (await coarse).sum.data];
    expect(sums).toHaveLength(2);
    for (const [i, sum] of sums.entries()) expect(coarseSums[i]).toBeGreaterThan(sum);
  });
});

test('a bound is finite up to the largest number, and no further', () => {
  const { largest } = FLOAT32;
  const bounded = (value: number) =>
    errorBound({ sum: { shape: [1], data: Float64Array.of(value) }, operations: 1 }, precise);
  expect(bounded(largest).isBounded).toBe(true);
  expect(bounded(largest).bound[0]).toBeLessThan(largest);
  expect(bounded(largest * (1 + 2 ** -52))).toMatchObject({
    isBounded: false,
    bound: Float64Array.of(Number.POSITIVE_INFINITY),
  });
});
