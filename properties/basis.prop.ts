/** The basis tier finds any wrong weight, and its interpreter is the oracle's linear part. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deployForms } from '../src/fused/forms.ts';
import { fuse, fuseAndRound, fuseWeights, rules } from '../src/fused/fuse.ts';
import { type Columns, columnsOf, noColumns, oneHotColumns } from '../src/interpreters/columns.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import type { Network, Node } from '../src/network/ops.ts';
import { elements, type Shape, type Weights } from '../src/network/tensor.ts';
import { checkBasis } from '../src/verify/basis.ts';
import { isFused, type Piece, pieces } from '../src/verify/pieces.ts';
import { values } from './arbitraries.ts';
import { type Drawn, propertyOptions, seed } from './check.ts';
import { inCompleteForm, inForm, networks, regions, weightsOf } from './networks.ts';

const felt = { values: values('default', 'balanced'), styles: ['drawn', 'generated'] } as const;

/** The float32 next to a number, further from zero or nearer to it. */
function neighbour(value: number, further: boolean): number {
  const floats = Float32Array.of(value);
  new Int32Array(floats.buffer)[0]! += further || value === 0 ? 1 : -1;
  return floats[0]!;
}

/** A neighbour that is not the exact value rounded: of a value half way between two, the other one. */
function offByOne(stored: number, exact: number, further: boolean): number {
  const chosen = neighbour(stored, further);
  const isTie = Math.abs(chosen - exact) === Math.abs(stored - exact);
  return isTie ? neighbour(stored, !further) : chosen;
}

/** Every weight that a rule makes: its piece and key. */
function fusedKeys({ fusion }: Drawn): readonly (readonly [piece: Piece, key: string, length: number])[] {
  return pieces(fusion)
    .filter(isFused)
    .flatMap((piece) =>
      [...weightShapesByKey(piece.deploy)].map(([key, shape]) => [piece, key, elements(shape)] as const),
    );
}

/** One weight off by one unit in the last place is found in the region that it is in, and named. */
function expectNamed(drawn: Drawn, pick: number): void {
  const { fusion, weights } = drawn;
  const keys = fusedKeys(drawn);
  const [piece, key, length] = keys[pick % keys.length]!;
  const index = Math.floor(pick / keys.length) % length;
  const right = fuseAndRound(fusion, weights);
  expect(checkBasis(piece, weights, right)).toMatchObject([{ comparison: { verdict: 'pass', failures: 0 } }]);
  const { shape, data } = right.get(key)!;
  const exact = fuseWeights(fusion, weights).get(key)!.data[index]!;
  const off = offByOne(data[index]!, exact, pick % 2 === 0);
  const wrong = new Map([...right, [key, { shape, data: data.map((value, i) => (i === index ? off : value)) }]]);
  const findings = checkBasis(piece, weights, wrong);
  expect(findings.map((finding) => [finding.key, finding.comparison.verdict])).toEqual([[key, 'fail']]);
  expect(findings[0]!.comparison.worst.map((difference) => difference.index)).toEqual([index]);
  expect(findings[0]!.comparison.worst[0]!.actual).toBe(off);
}

describe(`one unit in the last place of any weight is found and named, seed ${seed}`, () => {
  test('in every kind of region', () => {
    const used = new Set<string>();
    fc.assert(
      fc.property(regions(felt), fc.nat(2 ** 31 - 1), (draw, pick) => {
        const drawn = inCompleteForm(draw);
        // A network that no rule touches has no fused weight.
        fc.pre(fusedKeys(drawn).length > 0);
        for (const rule of drawn.fusion.regions.flatMap((region) => region.rules)) used.add(rule);
        expectNamed(drawn, pick);
      }),
      propertyOptions(400),
    );
    expect([...used].toSorted()).toEqual(rules.map(({ name }) => name).toSorted());
  });

  test('in every form of whole networks', () => {
    fc.assert(
      fc.property(networks(felt), fc.nat(2 ** 31 - 1), (draw, pick) => {
        for (const form of deployForms(draw.network)) expectNamed(inForm(form, draw), pick);
      }),
      propertyOptions(40),
    );
  });
});

/** Elements of a tensor by index, of all probes' first. */
function denseOf({ shape, probes, rows, values: of, start, stride, isDiagonal }: Columns, probe: number): Float64Array {
  const data = new Float64Array(elements(shape));
  rows.forEach((row, i) => {
    data[row] = isDiagonal === true ? Number(i % probes === probe) * of[i]! : of[start + i * stride + probe]!;
  });
  return data;
}

async function oracle(network: Network, weights: Weights, shape: Shape, data: Float64Array): Promise<Float64Array> {
  const inputs = new Map(network.inputs.map((name) => [name, { shape, data }]));
  return (await evaluateFloat64(network, weights, inputs, { kernels: 'definition' })).get(network.output)!.data;
}

/** Where one differs from the other; a zero of either sign is zero. */
function differences(actual: Float64Array, expected: Float64Array): readonly number[] {
  expect(actual.length).toBe(expected.length);
  return [...actual.keys()].filter((i) => actual[i] !== expected[i]);
}

/** Whether it divides by a number that is no power of two. */
function isRounded({ nodes }: Network, { op, inputs }: Node): boolean {
  if (op.kind !== 'globalAvgPool' && op.kind !== 'scale') return false;
  const pixels = elements(nodes.find(({ name }) => name === inputs[0])!.shape.slice(2));
  return !Number.isInteger(Math.log2(op.kind === 'scale' ? op.factor : pixels));
}

describe(`columns, seed ${seed}`, () => {
  // In the dyadic regime nothing is rounded, so that sums may be taken apart.
  const exact = regions({ values: values('dyadic'), styles: ['drawn'] });
  const sparse = fc.array(fc.record({ at: fc.nat(), value: fc.integer({ min: -3, max: 3 }) }), {
    minLength: 1,
    maxLength: 4,
  });

  test('are what the oracle gives for each probe, less what it gives for zero', async () => {
    await fc.assert(
      fc.asyncProperty(exact, fc.array(sparse, { minLength: 1, maxLength: 3 }), async (draw, probes) => {
        fc.pre(!draw.network.nodes.some((node) => isRounded(draw.network, node)));
        const weights = weightsOf(draw);
        const fusion = fuse(draw.network);
        const fused = fuseAndRound(fusion, weights);
        for (const [network, of] of [
          [draw.network, weights],
          [fusion.network, fused],
        ] as const) {
          const { shape } = network.nodes[0]!;
          const size = elements(shape);
          const rows = new Int32Array([...new Set(probes.flat().map(({ at }) => at % size))]);
          const valuesOfRows = new Float64Array(rows.length * probes.length);
          probes.forEach((entries, probe) => {
            for (const { at, value } of entries) valuesOfRows[rows.indexOf(at % size) * probes.length + probe] = value;
          });
          const x: Columns = { ...noColumns(shape, probes.length), rows, values: valuesOfRows };
          // As the tier has them: elements side by side, each for a probe of its own.
          const count = Math.min(probes.length, size);
          const first = probes.flat()[0]!.at % (size - count + 1);
          const run = oneHotColumns(
            shape,
            count,
            Int32Array.from({ length: count }, (_, i) => first + i),
          );
          const columns = columnsOf(network, of, { part: 'linear' });
          const constant = columnsOf(network, of, { part: 'constant' })(
            new Map([[network.inputs[0]!, noColumns(shape, 1)]]),
          );
          const atZero = await oracle(network, of, shape, new Float64Array(size));
          expect(differences(denseOf(constant, 0), atZero)).toEqual([]);
          for (const given of [x, run]) {
            const linear = columns(new Map([[network.inputs[0]!, given]]));
            for (let probe = 0; probe < given.probes; probe++) {
              const expected = await oracle(network, of, shape, denseOf(given, probe));
              const sum = denseOf(linear, probe).map((value, i) => value + atZero[i]!);
              expect(differences(sum, expected)).toEqual([]);
            }
          }
        }
      }),
      propertyOptions(150),
    );
  });
});
