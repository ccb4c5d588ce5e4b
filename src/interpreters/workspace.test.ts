import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { fuseWeights } from '../fused/fuse.ts';
import type { Network } from '../network/ops.ts';
import type { Weights } from '../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { evaluateFloat64 } from './float64.ts';
import { magnitude } from './magnitude.ts';
import { type Arrays, NEW_ARRAYS, Workspace, widen } from './workspace.ts';

describe('Workspace', () => {
  test('gives an array that was released again, and none that is taken', () => {
    const arrays = new Workspace();
    const first = arrays.take(4);
    const second = arrays.take(4);
    expect(second.buffer).not.toBe(first.buffer);
    arrays.release(first);
    const third = arrays.take(3);
    expect(third.buffer).toBe(first.buffer);
    expect(third.length).toBe(3);
    expect(arrays.take(4).buffer).not.toBe(first.buffer);
  });

  test('lends no large array for a small one', () => {
    const arrays = new Workspace();
    const large = arrays.take(100);
    arrays.release(large);
    expect(arrays.take(49).buffer).not.toBe(large.buffer);
    expect(arrays.take(50).buffer).toBe(large.buffer);
  });

  test('takes everything back at once', () => {
    const arrays = new Workspace();
    const taken = [arrays.take(8), arrays.take(8)].map(({ buffer }) => buffer);
    arrays.reset();
    expect(new Set([arrays.take(8).buffer, arrays.take(8).buffer])).toEqual(new Set(taken));
    arrays.reset();
    arrays.reset();
    expect(arrays.take(8).buffer).not.toBe(arrays.take(8).buffer);
  });

  test('leaves alone what it has not lent, and what was released before', () => {
    const arrays = new Workspace();
    const own = new Float64Array(8);
    arrays.release(own);
    expect(arrays.take(8).buffer).not.toBe(own.buffer);
    const array = arrays.take(8);
    arrays.release(array);
    arrays.release(array);
    expect(arrays.take(8).buffer).not.toBe(arrays.take(8).buffer);
  });
});

test('widen copies float32, and float64 not', () => {
  const wide = Float64Array.of(1, 2);
  expect(widen(wide, NEW_ARRAYS)).toBe(wide);
  expect(widen(Float32Array.of(0.1, -3), NEW_ARRAYS)).toEqual(Float64Array.of(Math.fround(0.1), -3));
});

/** Arrays that show what is read before it is written, or after it was released, as NaN. */
class Poisoned implements Arrays {
  readonly #taken = new Set<Float64Array>();
  lent = 0;

  take(length: number): Float64Array<ArrayBuffer> {
    const array = new Float64Array(length).fill(Number.NaN);
    this.#taken.add(array);
    this.lent++;
    return array;
  }

  release(array: Float64Array): void {
    if (this.#taken.delete(array)) array.fill(Number.NaN);
  }

  get kept(): number {
    return this.#taken.size;
  }
}

interface Case {
  readonly name: string;
  readonly network: Network;
  readonly weights: Weights;
}

function formsOf(reference: Network): readonly Case[] {
  const weights = randomWeights(reference, 1);
  const deployed = deployForms(reference).map((form) => {
    const fusion = fuseTo(form, reference);
    return { name: `${reference.name}, ${form.name}`, network: fusion.network, weights: fuseWeights(fusion, weights) };
  });
  return [{ name: `${reference.name}, train`, network: reference, weights }, ...deployed];
}

const repVit = completeRepVitConfig({ embed_dim: [8, 16], depth: [2, 2], num_classes: 5 });
const repMlpNet = completeRepMlpNetConfig({
  channels: [8, 16],
  hs: [4, 2],
  ws: [2, 4],
  num_blocks: [1, 1],
  sharesets_nums: [2, 4],
  reparam_conv_k: [1, 3, 5],
  num_class: 5,
});
const cases = [
  ...formsOf(buildRepVit(repVit, { batch: 2, height: 24, width: 20 }, 'RepViT')),
  ...formsOf(buildRepVit({ ...repVit, legacy: true, kernel_size: 5 }, { batch: 1, height: 20, width: 20 }, 'legacy')),
  ...formsOf(buildRepMlpNet(repMlpNet, { batch: 2, height: 32, width: 32 }, 'RepMLPNet')),
];

/** Every bit of both is the same, and there is something to compare. */
function expectSame(actual: Float64Array, expected: Float64Array): void {
  expect(expected.length).toBeGreaterThan(0);
  expect(expected.every(Number.isFinite)).toBe(true);
  expect(actual).toEqual(expected);
}

describe.each(cases)('in arrays that hold anything, $name', ({ network, weights }) => {
  const [input = ''] = network.inputs;
  const shape = network.nodes.find(({ name }) => name === input)!.shape;
  const inputs = new Map([[input, randomInput(shape, 7)]]);

  test.each(['fast', 'definition'] as const)('has the same logits by %s kernels', async (kernels) => {
    const expected = await evaluateFloat64(network, weights, inputs, { kernels, arrays: NEW_ARRAYS });
    const arrays = new Poisoned();
    const actual = await evaluateFloat64(network, weights, inputs, { kernels, arrays });
    expectSame(actual.get(network.output)!.data, expected.get(network.output)!.data);
    // Most of what was taken has been given back on the way.
    expect(arrays.kept).toBeLessThan(arrays.lent / 4);
  });

  test('keeps every value that it is asked to keep', async () => {
    const expected = await evaluateFloat64(network, weights, inputs, { keep: 'all', arrays: NEW_ARRAYS });
    const actual = await evaluateFloat64(network, weights, inputs, { keep: 'all', arrays: new Poisoned() });
    expect(actual.size).toBe(network.nodes.length);
    for (const [name, { data }] of expected) expectSame(actual.get(name)!.data, data);
  });

  test('has the same magnitudes', async () => {
    const values = await evaluateFloat64(network, weights, inputs, { keep: 'all' });
    const options = { floor: 2 ** -500, erfError: 1 };
    const expected = await magnitude(network, weights, values, { ...options, arrays: NEW_ARRAYS });
    const actual = await magnitude(network, weights, values, { ...options, arrays: new Poisoned() });
    expectSame(actual.sum.data, expected.sum.data);
    expect(actual.operations).toBe(expected.operations);
  });
});
