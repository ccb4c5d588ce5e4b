import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../../fused/forms.ts';
import { fuseAndRound } from '../../fused/fuse.ts';
import type { Weights } from '../../network/tensor.ts';
import { randomInput, randomWeights } from '../../weights/random.ts';
import { type VerifyRequest, verify } from '../verify.ts';
import { storedPlants } from './stored.ts';
import { initialWeights, subjects } from './subjects.ts';

const SEED = 5;
const { reference } = subjects().find(({ name }) => name === 'repvit, deploy')!;
const [form] = deployForms(reference);

const right: VerifyRequest = {
  fusion: fuseTo(form, reference),
  weights: randomWeights(reference, SEED),
  input: randomInput(reference.nodes[0]!.shape, SEED),
  engines: [],
  probe: (shape, name) => randomInput(shape, SEED, name),
  seed: SEED,
};
const stored = fuseAndRound(right.fusion, right.weights);

/** The stored weights as the fault leaves them. */
async function corrupted(fault: string): Promise<Weights<Float32Array>> {
  const plant = storedPlants.find((each) => each.fault === fault)!;
  return (await plant.corrupt(right, form))!.deployWeights!;
}

/** Key, right and wrong value of every weight that differs. */
async function differences(fault: string) {
  const wrong = await corrupted(fault);
  expect([...wrong.keys()]).toEqual([...stored.keys()]);
  return [...stored].flatMap(([key, { data }]) =>
    [...data].flatMap((value, i) => {
      const other = wrong.get(key)!.data[i]!;
      return Object.is(value, other) ? [] : [{ key, value, other }];
    }),
  );
}

describe('stored weights', () => {
  test.each([
    ['num-one-weight-10', 2 ** -10],
    ['num-one-weight-16', 2 ** -16],
  ])('%s is wrong in one weight, by so much', async (fault, relative) => {
    const found = await differences(fault);
    expect(found).toHaveLength(1);
    const { value, other } = found[0]!;
    expect(other).toBe(Math.fround(value * (1 + relative)));
  });

  test('num-channel-swap swaps two neighbours of one vector', async () => {
    const found = await differences('num-channel-swap');
    expect(found).toHaveLength(2);
    const [first, second] = found;
    expect([first!.key, first!.value, first!.other]).toEqual([second!.key, second!.other, second!.value]);
  });

  test('num-bf16 keeps 8 significant bits, to nearest', async () => {
    const wrong = await corrupted('num-bf16');
    for (const [key, { data }] of stored) {
      const rounded = wrong.get(key)!.data;
      const bits = new Uint32Array(rounded.buffer, rounded.byteOffset, rounded.length);
      expect([...bits].filter((word) => (word & 0xffff) !== 0)).toEqual([]);
      expect([...data].filter((value, i) => Math.abs(rounded[i]! - value) > 2 ** -8 * Math.abs(value))).toEqual([]);
    }
  });

  test('life-partial-keys leaves the other keys as they are', async () => {
    const found = await differences('life-partial-keys');
    expect(new Set(found.map(({ key }) => key)).size).toBe(1);
  });

  test.each(['bn-fuse-f32', 'life-dtype'])('%s makes what rounding in float32 explains', async (fault) => {
    const plant = storedPlants.find((each) => each.fault === fault)!;
    const { failures } = await verify({ ...(await plant.corrupt(right, form))!, tiers: ['weights'] });
    expect(failures.length).toBeGreaterThan(0);
    expect(failures.filter(({ roundedInFloat32 }) => roundedInFloat32 !== true)).toEqual([]);
  });
});

test('initial weights hide what a residual branch computes, and only that', () => {
  const weights = initialWeights(reference, SEED);
  const ofKey = (key: string) => new Set(weights.get(key)!.data);
  expect(ofKey('stages.0.blocks.0.channel_mixer.conv2.bn.weight')).toEqual(new Set([0]));
  expect(ofKey('stages.0.blocks.0.channel_mixer.conv1.bn.weight')).toEqual(new Set([1]));
  expect(ofKey('stem.conv1.bn.running_var')).toEqual(new Set([1]));
  expect(ofKey('stem.conv1.bn.running_mean')).toEqual(new Set([0]));
  expect(ofKey('head.head.l.bias')).toEqual(new Set([0]));
  // fan_in 27
  const { data } = weights.get('stem.conv1.c.weight')!;
  expect(Math.max(...data.map(Math.abs))).toBeLessThan(1 / Math.sqrt(27));
  expect(new Set(data).size).toBe(data.length);
});
