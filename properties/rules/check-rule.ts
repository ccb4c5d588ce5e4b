/** What the properties of every rule share. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { type Fusion, fuse, fuseWeights } from '../../src/fused/fuse.ts';
import type { Rule } from '../../src/fused/rule.ts';
import { evaluateFloat64 } from '../../src/interpreters/float64.ts';
import { InputError } from '../../src/network/errors.ts';
import type { Network, Node, Op, OpKind } from '../../src/network/ops.ts';
import type { Tensor, Weights } from '../../src/network/tensor.ts';
import type { FaultyRule } from '../../src/verify/faults/mistake.ts';
import { type Tier, type TierSummary, type Verification, verify } from '../../src/verify/verify.ts';
import { randomInput } from '../../src/weights/random.ts';
import { inputFor, operations, type Values, weightsFor } from '../arbitraries.ts';
import { propertyOptions } from '../check.ts';

/** Verifies without an engine, on the weights that are drawn. */
export function verifyAlgebra(fusion: Fusion, drawn: Values): Promise<Verification> {
  return verify({
    fusion,
    weights: weightsFor(fusion.reference, drawn),
    input: inputFor(fusion.reference, drawn),
    engines: [],
    probe: (shape, name) => randomInput(shape, drawn.seed, name),
    tiers: ['structure', 'weights', 'algebra'],
  });
}

export function tierOf(verification: Verification, tier: Tier): TierSummary {
  const summary = verification.tiers.find((candidate) => candidate.tier === tier);
  if (summary === undefined) throw new Error(`there is no ${tier} tier`);
  return summary;
}

/** The rules replace all of the network by nodes of these kinds, which are one region. */
export function expectOneRegion(fusion: Fusion, ...kinds: readonly OpKind[]): void {
  expect(operations(fusion.network).map(({ op }) => op.kind)).toEqual(kinds);
  expect(fusion.regions).toHaveLength(1);
  expect(fusion.regions[0]!.reference).toEqual(operations(fusion.reference).map(({ name }) => name));
}

/** Both forms agree in float64 as far as the derived bound says, and something was compared. */
export async function expectEqualForms(fusion: Fusion, drawn: Values): Promise<void> {
  const verification = await verifyAlgebra(fusion, drawn);
  const algebra = tierOf(verification, 'algebra');
  expect({ verdict: algebra.verdict, failures: verification.failures }).toEqual({ verdict: 'pass', failures: [] });
  expect(algebra.compared).toBeGreaterThan(0);
  expect(tierOf(verification, 'structure').verdict).toBe('pass');
}

async function outputOf(network: Network, weights: Weights, input: Tensor): Promise<Tensor<Float64Array>> {
  const inputs = new Map(network.inputs.map((name) => [name, input]));
  const values = await evaluateFloat64(network, weights, inputs, { kernels: 'definition' });
  return values.get(network.output)!;
}

/** Both forms agree number by number (===): the draw is of the dyadic regime. */
export async function expectSameNumbers(fusion: Fusion, drawn: Values): Promise<void> {
  const weights = weightsFor(fusion.reference, drawn);
  const input = inputFor(fusion.reference, drawn);
  const expected = await outputOf(fusion.reference, weights, input);
  const actual = await outputOf(fusion.network, fuseWeights(fusion, weights), input);
  expect(actual.shape).toEqual(expected.shape);
  expect(actual.data.length).toBeGreaterThan(0);
  expect([...actual.data.keys()].filter((i) => actual.data[i] !== expected.data[i])).toEqual([]);
}

/** The network, as the rules left it, is the one that was given. */
export function expectUnchanged(network: Network, rules: readonly Rule[]): void {
  const before = structuredClone(network);
  const fusion = fuse(network, rules);
  expect(fusion.regions).toEqual([]);
  expect(fusion.network).toEqual(before);
  expect(network).toEqual(before);
}

/** The node's op, without a stride that nothing is reached by: where one row, or column, is put out. */
function effectOf({ op, shape }: Node): Op {
  if (op.kind !== 'conv2d') return op;
  const [, , height, width] = shape;
  return { ...op, stride: [height === 1 ? 1 : op.stride[0], width === 1 ? 1 : op.stride[1]] };
}

/** Whether two fusions make nodes of the very same effect with the very same unrounded weights. */
function sameResult(a: Fusion, b: Fusion, weights: Weights): boolean {
  const [effectA, effectB] = [a, b].map(({ network }) => JSON.stringify(operations(network).map(effectOf)));
  if (effectA !== effectB) return false;
  const weightsB = fuseWeights(b, weights);
  return [...fuseWeights(a, weights)].every(([key, { data }]) =>
    data.every((value, i) => value === weightsB.get(key)?.data[i]),
  );
}

/** Undefined where a fault makes a node that does not even fit its input. */
function fuseOrRefuse(network: Network, rules: readonly Rule[]): Fusion | undefined {
  try {
    return fuse(network, rules);
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

/** Draws on which each fault has to be caught. */
const FAULT_DRAWS = 40;

/**
 * A faulty copy of one of the rules fails in the algebra tier on every draw where it makes other weights; a draw on which
 * it makes the same is drawn again.
 */
export async function expectCaught<Draw>(
  { rule, smallVariances = false }: FaultyRule,
  rules: readonly Rule[],
  draws: fc.Arbitrary<Draw>,
  networkOf: (draw: Draw, drawn: Values) => Network,
  values: fc.Arbitrary<Values>,
): Promise<void> {
  const options = propertyOptions<[Draw, Values]>(FAULT_DRAWS);
  const faulty = rules.map((right) => (right.name === rule.name ? rule : right));
  let caught = 0;
  await fc.assert(
    fc.asyncProperty(draws, values, async (draw, given) => {
      const drawn = { ...given, smallVariances };
      const network = networkOf(draw, drawn);
      const fusion = fuseOrRefuse(network, faulty);
      fc.pre(fusion !== undefined && !sameResult(fusion, fuse(network, rules), weightsFor(network, drawn)));
      const algebra = tierOf(await verifyAlgebra(fusion, drawn), 'algebra');
      expect(algebra).toMatchObject({ verdict: 'fail', worstPiece: fusion.network.output });
      expect(algebra.worstRatio).toBeGreaterThan(1);
      caught++;
    }),
    options,
  );
  expect(caught).toBeGreaterThanOrEqual(options.numRuns);
}
