import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { nodesByName } from '../src/network/graph.ts';
import { isKind, type Network } from '../src/network/ops.ts';
import { FLOAT64 } from '../src/network/precision.ts';
import type { Tensor, Weights } from '../src/network/tensor.ts';
import { runtimeBound } from '../src/verify/bounds.ts';
import { values } from './arbitraries.ts';
import { propertyOptions } from './check.ts';
import { type Filling, inputOf, type NetworkDraw, networks, regions, weightsOf } from './networks.ts';
import { type Frame, inputIn, permutation, scaling, weightsIn } from './symmetry.ts';

const seeds = fc.nat(2 ** 32 - 1);
const RUNS = { regions: 150, networks: 10 };

/** Values that no order of summation rounds. */
const exact = regions({ styles: ['drawn'], values: values('dyadic') }).filter(({ network }) => {
  const nodes = nodesByName(network);
  return network.nodes.every((node) => {
    if (!isKind(node, 'globalAvgPool')) return true;
    const [, , height = 1, width = 1] = nodes.get(node.inputs[0]!)!.shape;
    return Number.isInteger(Math.log2(height * width));
  });
});
const rounded: Filling = { styles: ['drawn', 'generated'], values: values('balanced') };

function changes(frame: Frame, network: Network): boolean {
  return network.nodes.some(({ name, shape }) => {
    const { places, exponent } = frame(name, shape[1]!);
    return exponent !== 0 || places.some((place, channel) => place !== channel);
  });
}

/** The network's values, and how far beyond `allowed` those in other coordinates are, element by element of all nodes. */
async function compared(frame: Frame, draw: NetworkDraw, nodes: readonly string[], allowed: (i: number) => number) {
  const { network } = draw;
  const evaluate = (weights: Weights, input: Tensor) =>
    evaluateFloat64(network, weights, new Map([['input', input]]), { kernels: 'definition', keep: 'all' });
  const before = await evaluate(weightsOf(draw), inputOf(draw));
  const after = await evaluate(weightsIn(frame, network, weightsOf(draw)), inputIn(frame, network, inputOf(draw)));
  let elements = 0;
  const beyond = nodes.flatMap((name) => {
    const { shape, data } = before.get(name)!;
    const [, channels = 1] = shape;
    const pixels = shape.slice(2).reduce((product, length) => product * length, 1);
    const { places, exponent } = frame(name, channels);
    elements += data.length;
    return [...data.keys()].filter((i) => {
      const row = Math.floor(i / pixels);
      const place = row - (row % channels) + places[row % channels]!;
      const there = after.get(name)!.data[place * pixels + (i % pixels)]!;
      return !(Math.abs(there - data[i]! * 2 ** exponent) <= allowed(i));
    });
  });
  return { beyond: beyond.length, elements };
}

describe('a network in other coordinates', () => {
  test.each([
    ['permuted regions', permutation, exact, RUNS.regions],
    ['scaled regions', scaling, regions(rounded), RUNS.regions],
    ['scaled networks', scaling, networks(rounded), RUNS.networks],
  ])('%s: every value is the same, number by number', async (_name, symmetry, draws, runs) => {
    let moved = 0;
    const options = propertyOptions<[NetworkDraw, number]>(runs);
    await fc.assert(
      fc.asyncProperty(draws, seeds, async (draw, seed) => {
        const { network } = draw;
        const frame = symmetry(network, seed);
        const names = network.nodes.map(({ name }) => name);
        const { beyond, elements } = await compared(frame, draw, names, () => 0);
        expect(beyond).toBe(0);
        expect(elements).toBeGreaterThanOrEqual(names.length);
        if (changes(frame, network)) moved++;
      }),
      options,
    );
    // At least half of the draws are about something.
    expect(moved).toBeGreaterThan(options.numRuns / 2);
  });

  test('permuted networks: logits are the same but for rounding', async () => {
    const options = propertyOptions<[NetworkDraw, number]>(RUNS.networks);
    let moved = 0;
    await fc.assert(
      fc.asyncProperty(networks(rounded), seeds, async (draw, seed) => {
        const { network } = draw;
        const frame = permutation(network, seed);
        const inputs = new Map([['input', inputOf(draw)]]);
        const { bound } = await runtimeBound(network, weightsOf(draw), inputs, FLOAT64);
        // Each of the two evaluations is within one bound of the exact value.
        const { beyond, elements } = await compared(frame, draw, [network.output], (i) => 2 * bound[i]!);
        expect(beyond).toBe(0);
        expect(elements).toBe(bound.length);
        if (changes(frame, network)) moved++;
      }),
      options,
    );
    expect(moved).toBeGreaterThan(options.numRuns / 2);
  });
});
