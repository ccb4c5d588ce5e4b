/** What a right fusion, and the verdict on any, must not depend on. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { magnitudeField, roundingsField } from '../src/fused/field.ts';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import { type Fusion, fuse, fuseIn, fuseWeights, roundWeights } from '../src/fused/fuse.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import type { Network } from '../src/network/ops.ts';
import { FLOAT64, gamma } from '../src/network/precision.ts';
import { elements, type Weights } from '../src/network/tensor.ts';
import { faulty, mapped } from '../src/verify/faults/mistake.ts';
import type { TierSummary } from '../src/verify/verify.ts';
import { encodeSafetensors, parseSafetensors } from '../src/weights/safetensors.ts';
import { values } from './arbitraries.ts';
import { type Drawn, propertyOptions, seed, verifyDrawn } from './check.ts';
import { inEveryForm, type NetworkDraw, networks, regions } from './networks.ts';
import { deployWeightsIn, type Frame, inputIn, permutation, scaling, shuffled, weightsIn } from './symmetry.ts';

/**
 * Means and biases as large as what they stand beside, so that a fault is felt; away from underflow and, in networks, from
 * overflow. A network is as much work as many regions.
 */
const subjects: fc.Arbitrary<NetworkDraw> = fc.oneof(
  { weight: 12, arbitrary: regions({ styles: ['drawn', 'generated'], values: values('balanced') }) },
  { weight: 1, arbitrary: networks({ styles: ['generated'] }) },
);
const seeds = fc.nat(2 ** 32 - 1);
const RUNS = 16;

/** The fusion, but one of its rules gets the first weight that it makes wrong by 2^-10 of it. */
function planted(drawn: Drawn, place: number): Drawn {
  const { fusion, form } = drawn;
  const used = [...new Set(fusion.regions.flatMap((region) => region.rules))];
  const name = used[place % used.length];
  const wrong = form.rules.map((rule) => {
    if (rule.name !== name) return rule;
    return faulty('num-one-weight', rule, {
      fused: (field, _match, right) => ({
        ...right,
        weight: mapped(field, right.weight!, (w, i) => (i === 0 ? field.mul(w, field.of(1 + 2 ** -10)) : w)),
      }),
    }).rule;
  });
  return { ...drawn, fusion: fuse(fusion.reference, wrong, form.keeps) };
}

/** Draws on which something is fused, in each form, right and with a planted error that makes other weights. */
async function assertOnFusions(hold: (right: Drawn, wrong: Drawn, seed: number) => Promise<void>): Promise<void> {
  await fc.assert(
    fc.asyncProperty(subjects, seeds, async (draw, drawn) => {
      for (const right of inEveryForm(draw)) {
        if (right.fusion.regions.length === 0) continue;
        const wrong = planted(right, drawn);
        fc.pre(!sameNumbers(fuseWeights(right.fusion, right.weights), fuseWeights(wrong.fusion, wrong.weights)));
        await hold(right, wrong, drawn);
      }
    }),
    propertyOptions(RUNS),
  );
}

/** Shapes and numbers (===) by key. */
const numbers = (weights: Weights) =>
  new Map([...weights].map(([key, { shape, data }]) => [key, { shape, data: Array.from(data, (value) => value + 0) }]));

function sameNumbers(a: Weights, b: Weights): boolean {
  return [...a].every(([key, { data }]) => data.every((value, i) => value === b.get(key)!.data[i]));
}

const verdictOn = async (drawn: Drawn) => (await verifyDrawn(drawn)).verdict;

/** Per fused weight: how far any order of the same operations may be from another. */
function roundingBounds(fusion: Fusion, weights: Weights): ReadonlyMap<string, readonly number[]> {
  const shapes = weightShapesByKey(fusion.reference);
  const roundings = new Map<string, ArrayLike<number>>();
  const none = (key: string) => new Float64Array(elements(shapes.get(key)!));
  fuseIn(fusion, roundingsField, none, (key, _shape, counts) => roundings.set(key, counts));
  const bounds = new Map<string, readonly number[]>();
  const absolute = (key: string) => weights.get(key)!.data.map(Math.abs);
  fuseIn(fusion, magnitudeField, absolute, (key, _shape, sums) => {
    const counts = roundings.get(key)!;
    bounds.set(
      key,
      Array.from(sums, (sum, i) => 2 * gamma(counts[i]! + 1, FLOAT64.unitRoundoff) * sum),
    );
  });
  return bounds;
}

/** Equal as numbers, but those of the keys that `isSum` names: there within the rounding of another order. */
function expectSameWeights(
  { fusion, weights }: Drawn,
  actual: Weights,
  expected: Weights,
  isSum: (key: string) => boolean,
): void {
  const bounds = roundingBounds(fusion, weights);
  const beyond = [...expected].flatMap(([key, { data }]) => {
    const own = actual.get(key)!.data;
    const allowed = isSum(key) ? bounds.get(key) : undefined;
    return [...data.keys()].flatMap((i) =>
      Math.abs(own[i]! - data[i]!) <= (allowed?.[i] ?? 0) ? [] : [{ key, i, actual: own[i], expected: data[i] }],
    );
  });
  expect(beyond).toEqual([]);
  expect([...actual.keys()]).toEqual([...expected.keys()]);
}

describe(`fusing, seed ${seed}`, () => {
  test('twice is fusing once', async () => {
    await assertOnFusions(async (right, wrong) => {
      for (const [drawn, verdict] of [
        [right, 'pass'],
        [wrong, 'fail'],
      ] as const) {
        const { fusion, weights, form } = drawn;
        const again = fuseTo(form, fusion.network);
        expect(again).toMatchObject({ network: fusion.network, regions: [], steps: [] });
        const once = fuseWeights(fusion, weights);
        const twice = fuseWeights(again, once);
        expect(numbers(twice)).toEqual(numbers(once));
        expect(await verdictOn({ ...right, deployWeights: roundWeights(twice) })).toBe(verdict);
      }
    });
  });

  test('one form on into the complete one is fusing completely', () => {
    fc.assert(
      fc.property(subjects, (draw) => {
        const complete = deployForms(draw.network).at(-1)!;
        for (const { fusion, weights } of inEveryForm(draw)) {
          const on = fuseTo(complete, fusion.network);
          const direct = fuseTo(complete, draw.network);
          expect(on.network).toEqual(direct.network);
          expect(numbers(fuseWeights(on, fuseWeights(fusion, weights)))).toEqual(numbers(fuseWeights(direct, weights)));
        }
      }),
      propertyOptions(RUNS),
    );
  });
});

/** The same drawn in other coordinates. */
function inFrame(frame: Frame, { fusion, weights, input, ...rest }: Drawn): Drawn {
  const { reference } = fusion;
  return { ...rest, fusion, weights: weightsIn(frame, reference, weights), input: inputIn(frame, reference, input) };
}

const framesOf = (symmetry: typeof permutation, { fusion }: Drawn, drawn: number) => symmetry(fusion.reference, drawn);

/** Rules that sum over the channels of their input. */
const SUMMING = ['batch-norm-conv', 'batch-norm-linear', 'batch-norm-pool'];

describe(`permuting channels, seed ${seed}`, () => {
  test('commutes with fusing: bit for bit, but for sums over channels; and leaves the verdict', async () => {
    await assertOnFusions(async (right, wrong, drawn) => {
      const frame = framesOf(permutation, right, drawn);
      const other = inFrame(frame, right);
      const { fusion } = right;
      const sums = new Set(
        fusion.regions.flatMap(({ rules, deploy }) =>
          rules.some((rule) => SUMMING.includes(rule)) ? [`${deploy}.bias`] : [],
        ),
      );
      const expected = deployWeightsIn(frame, fusion, fuseWeights(fusion, right.weights));
      expectSameWeights(other, fuseWeights(fusion, other.weights), expected, (key) => sums.has(key));
      expect(await verdictOn(other)).toBe('pass');
      expect(await verdictOn(inFrame(frame, wrong))).toBe('fail');
    });
  });
});

/** The same with each region's error as a share of its bound: both scale with the values. */
function inRatios(tiers: readonly TierSummary[]) {
  return tiers.map(({ regions = [], ...tier }) => ({
    ...tier,
    regions: regions.map(({ error, bound, ...region }) => ({ ...region, ratio: error / bound })),
  }));
}

describe(`scaling by powers of two, seed ${seed}`, () => {
  test('commutes with fusing, bit for bit, and leaves the verdict and every ratio', async () => {
    await assertOnFusions(async (right, wrong, drawn) => {
      const frame = framesOf(scaling, right, drawn);
      const { fusion } = right;
      const other = inFrame(frame, right);
      const expected = deployWeightsIn(frame, fusion, fuseWeights(fusion, right.weights));
      expectSameWeights(other, fuseWeights(fusion, other.weights), expected, () => false);
      for (const each of [right, wrong]) {
        const { tiers, verdict } = await verifyDrawn(each);
        expect(inRatios((await verifyDrawn(inFrame(frame, each))).tiers)).toEqual(inRatios(tiers));
        expect(verdict).toBe(each === right ? 'pass' : 'fail');
      }
    });
  });

  test('the input alone leaves the verdict', async () => {
    await assertOnFusions(async (right, wrong, drawn) => {
      const factor = 2 ** ((drawn % 41) - 20);
      const scaled = (each: Drawn): Drawn => {
        const { shape, data } = each.input;
        return { ...each, input: { shape, data: data.map((value) => value * factor) } };
      };
      expect(await verdictOn(scaled(right))).toBe('pass');
      expect(await verdictOn(scaled(wrong))).toBe('fail');
    });
  });
});

/** The network with the terms of every sum in another order. */
function reordered(network: Network, drawn: number): Network {
  const nodes = network.nodes.map((node) => {
    if (node.op.kind !== 'add') return node;
    return { ...node, inputs: shuffled(node.inputs.length, drawn, node.name).map((i) => node.inputs[i]!) };
  });
  return { ...network, nodes };
}

describe(`the order of branches, seed ${seed}`, () => {
  const inOtherOrder = (drawn: Drawn, order: number): Drawn => ({
    ...drawn,
    fusion: fuseTo(drawn.form, reordered(drawn.fusion.reference, order)),
  });

  test('moves weights by rounding alone, and leaves the verdict', async () => {
    await assertOnFusions(async (right, wrong, drawn) => {
      const other = inOtherOrder(right, drawn);
      const expected = fuseWeights(right.fusion, right.weights);
      expectSameWeights(other, fuseWeights(other.fusion, other.weights), expected, () => true);
      expect(await verdictOn(other)).toBe('pass');
      expect(await verdictOn(planted(other, drawn))).toBe('fail');
      expect(await verdictOn(wrong)).toBe('fail');
    });
  });

  test('moves none where no result is rounded', () => {
    fc.assert(
      fc.property(regions({ styles: ['drawn'], values: values('dyadic') }), seeds, (draw, order) => {
        for (const right of inEveryForm(draw)) {
          const other = inOtherOrder(right, order);
          const expected = fuseWeights(right.fusion, right.weights);
          expectSameWeights(other, fuseWeights(other.fusion, other.weights), expected, () => false);
        }
      }),
      propertyOptions(2 * RUNS),
    );
  });
});

describe(`a deploy file, seed ${seed}`, () => {
  test('written and read back is judged as the weights themselves', async () => {
    await assertOnFusions(async (right, wrong) => {
      for (const each of [right, wrong]) {
        const stored = roundWeights(fuseWeights(each.fusion, each.weights));
        const loaded = roundWeights(parseSafetensors(encodeSafetensors(stored), 'deploy.safetensors'));
        const before = await verifyDrawn({ ...right, deployWeights: stored });
        const after = await verifyDrawn({ ...right, deployWeights: loaded });
        expect(after).toEqual(before);
        expect(before.verdict).toBe(each === right ? 'pass' : 'fail');
      }
    });
  });
});
