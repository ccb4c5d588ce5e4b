import { beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../engines/engine.ts';
import { openEngine } from '../../engines/index.ts';
import type { Tier } from '../findings.ts';
import { type PlantedFault, plantedFaults } from './catalogue.ts';
import { type FaultRow, type KillMatrix, killMatrix } from './kill-matrix.ts';
import type { Plant, RequestPlant } from './plant.ts';
import { subjects } from './subjects.ts';
import { TestStand } from './test-stand.ts';

const SEED = 3;
/** What a kill's distance to the bound must be, in decades. */
const LEAST_MARGIN = 1;

/** The smallest networks first: a fault is tried on the first that has a place for it. */
const stands = subjects()
  .toSorted((a, b) => a.reference.nodes.length - b.reference.nodes.length)
  .map((subject) => new TestStand(subject));

let wasm: Engine;
beforeAll(async () => {
  wasm = await openEngine('wasm');
});

function matrixOf(fault: PlantedFault, on: readonly TestStand[], draws = 1): Promise<KillMatrix> {
  return killMatrix({ faults: [fault], engines: [wasm], seed: SEED, draws }, on);
}

/** The matrix of one plant on the first subject that has a place for it. */
async function firstPlace(fault: PlantedFault, plant: Plant): Promise<FaultRow> {
  for (const stand of stands) {
    const { faults } = await matrixOf({ ...fault, plants: [plant] }, [stand]);
    if (faults[0]!.draws > 0) return faults[0]!;
  }
  throw new Error(`${fault.id} in ${plant.place} changes nothing on any subject`);
}

describe('every fault, wherever it is planted, is killed by the tiers that its nature calls for', () => {
  test.each(plantedFaults().map((fault) => [fault.id, fault] as const))('%s', async (_id, fault) => {
    for (const plant of fault.plants) {
      const { killed, survivors, draws, tiers } = await firstPlace(fault, plant);
      expect({ place: plant.place, killed, survivors, draws }).toEqual({
        place: plant.place,
        killed: true,
        survivors: [],
        draws: 1,
      });
      for (const tier of plant.tiers) {
        const { isCalledFor, margin } = tiers[tier]!;
        expect(isCalledFor).toBe(true);
        expect(margin ?? Number.POSITIVE_INFINITY, tier).toBeGreaterThanOrEqual(LEAST_MARGIN);
      }
    }
  });
});

test.each(stands.map((stand) => [stand.subject.name, stand] as const))(
  '%s passes without a fault in every tier that it is asked',
  async (_name, stand) => {
    const aliased = plantedFaults().find(({ id }) => id === 'life-aliased')!;
    const { clean } = await matrixOf(aliased, [stand]);
    const tiers: readonly Tier[] = ['structure', 'exact', 'basis', 'weights', 'algebra'];
    const asked = clean.filter(({ tier }) => tiers.includes(tier));
    expect(asked.map(({ tier, verdict, alarms }) => ({ tier, verdict, alarms }))).toEqual(
      tiers.filter((tier) => tier !== stand.subject.without).map((tier) => ({ tier, verdict: 'pass', alarms: [] })),
    );
  },
);

/** Plants that are no catalogue's. */
function madeUp(corrupt: RequestPlant['corrupt'], tiers: RequestPlant['tiers'] = ['weights']): PlantedFault {
  const plant: RequestPlant = { fault: 'num-made-up', place: 'request', kind: 'request', tiers, corrupt };
  return { id: 'num-made-up', title: 'made up', source: 'nowhere', plants: [plant] };
}

/** One stored weight replaced by its opposite. */
const negated: RequestPlant['corrupt'] = (right) => {
  const [key, { shape, data }] = [...(right.deployWeights ?? right.weights)].find(
    ([, tensor]) => tensor.data[0] !== 0,
  )!;
  return {
    ...right,
    weights: new Map(right.weights).set(key, { shape, data: data.map((v, i) => (i === 0 ? -v : v)) }),
  };
};

const small = () => [new TestStand(subjects().find(({ name }) => name.startsWith('norm-conv'))!)];

describe('a fault survives', () => {
  test('that corrupts nothing', async () => {
    const { faults, killed } = await matrixOf(
      madeUp((right) => ({ ...right })),
      small(),
    );
    expect({ killed, draws: faults[0]!.draws, isKilled: faults[0]!.killed }).toEqual({
      killed: 0,
      draws: 0,
      isKilled: false,
    });
  });

  test('that finds no place', async () => {
    const { faults, killed } = await matrixOf(
      madeUp(() => undefined),
      small(),
    );
    expect([killed, faults[0]!.draws, faults[0]!.redraws]).toEqual([0, 0, 0]);
  });

  test('that the tier which its nature calls for does not see, whatever others do', async () => {
    const noop = plantedFaults().find(({ id }) => id === 'life-noop')!;
    const plants = noop.plants.map((plant): Plant => ({ ...plant, tiers: ['structure', 'weights'] }));
    const { faults, killed } = await matrixOf({ ...noop, plants }, small());
    expect(killed).toBe(0);
    expect(faults[0]!.survivors).toEqual([
      { place: 'graph', subject: 'norm-conv, deploy', seed: SEED, missedBy: ['weights'] },
    ]);
    expect(faults[0]!.tiers.structure).toMatchObject({ draws: 1, killed: 1, isCalledFor: true });
    expect(faults[0]!.tiers.weights).toMatchObject({ draws: 1, killed: 0, isCalledFor: true });
  });
});

test('a draw on which a fault changes nothing is counted, and drawn again', async () => {
  // Reference weights that both forms are made of: no tier sees them, but the request is another.
  const onEvenSeeds = madeUp((right, form) => (right.seed! % 2 === 0 ? negated(right, form) : { ...right }));
  const { faults } = await matrixOf(onEvenSeeds, small(), 2);
  expect(faults[0]).toMatchObject({ draws: 2, redraws: 2, killed: false });
  expect(faults[0]!.survivors.map(({ seed }) => seed)).toEqual([SEED + 1, SEED + 3]);
});

test('a draw on which a fault changes nothing in the values that the exact tier makes up is drawn again', async () => {
  const { plants, ...fault } = plantedFaults().find(({ id }) => id === 'bn-var-reversed')!;
  const ofFc3 = plants.filter(({ place }) => place === 'set-linear-batch-norm');
  const windows = new TestStand(subjects().find(({ name }) => name === 'windows, deploy-official')!);
  const { faults } = await matrixOf({ ...fault, plants: ofFc3 }, [windows], 10);
  // Its two share-sets have one of six variances there each, so often the same.
  expect(faults[0]).toMatchObject({ draws: 10, killed: true, tiers: { exact: { draws: 10, killed: 10 } } });
  expect(faults[0]!.redraws).toBeGreaterThan(0);
});

test('a faulty engine is compared, bit for bit, with the right one', async () => {
  const { plants, ...fault } = plantedFaults().find(({ id }) => id === 'geo-same-asymmetric')!;
  const unstrided = new TestStand(subjects().find(({ name }) => name.startsWith('dilations'))!);
  // Its convolutions have no stride, so both paddings are one.
  const { faults } = await matrixOf({ ...fault, plants }, [unstrided]);
  expect(faults[0]).toMatchObject({ draws: 0, killed: false });
});

test('the usual check of logits on initial weights sees a flipped kernel, not a mean that is left out', async () => {
  const [repVit] = stands.filter(({ subject }) => subject.name === 'repvit, deploy');
  const initially = async (id: string) => {
    const { faults } = await matrixOf(plantedFaults().find((fault) => fault.id === id)!, [repVit!]);
    const { hidden, of } = faults[0]!.defaultInit;
    return { isHidden: hidden === of, something: of > 0 };
  };
  expect(await initially('geo-flip')).toEqual({ isHidden: false, something: true });
  expect(await initially('bn-mean-dropped')).toEqual({ isHidden: true, something: true });
  expect(await initially('act-gelu-tanh')).toEqual({ isHidden: true, something: true });
});
