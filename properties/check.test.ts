import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuse } from '../src/fused/fuse.ts';
import { convBatchNorm } from '../src/fused/rules/conv-batch-norm.ts';
import { NetworkBuilder } from '../src/network/builder.ts';
import type { Network } from '../src/network/ops.ts';
import { faulty, mapped } from '../src/verify/faults/mistake.ts';
import { convNorm, type Values } from './arbitraries.ts';
import { type Drawn, expectClean, propertyOptions } from './check.ts';
import { inCompleteForm, regions } from './networks.ts';

const one = [1, 1] as const;
const bare = {
  kind: 'conv2d',
  outChannels: 1,
  kernel: one,
  stride: one,
  padding: [0, 0],
  dilation: one,
  groups: 1,
} as const;

/** A convolution and its batch norm, of one channel on one pixel. */
const single = convNorm({ batch: 1, channels: 1, height: 1, width: 1, op: { ...bare, bias: false } }, 1e-5);

/** Two of them, on an image and its negative: what the first puts out, the second takes in as float32. */
function chain(): Network {
  const builder = new NetworkBuilder('chain');
  let x = builder.input('input', [2, 1, 1, 1]);
  for (const name of ['a', 'b']) {
    const convolved = builder.add(`${name}.c`, { ...bare, bias: true }, [x]);
    x = builder.add(`${name}.act`, { kind: 'relu' }, [
      builder.add(`${name}.bn`, { kind: 'batchNorm', eps: 1e-5 }, [convolved]),
    ]);
  }
  return builder.build(x);
}

function drawn(network: Network): Drawn {
  const values: Values = { regime: 'balanced', seed: 1, weightScale: 0, inputScale: 0, meanScale: 0, shiftScale: 0 };
  return inCompleteForm({ network, style: 'drawn', values, [fc.toStringMethod]: () => network.name });
}

const none = { clean: 0, inconclusive: 0 };

test('a right fusion is counted as clean, all its forms as one', async ({ task }) => {
  await expectClean('regions', drawn(single));
  await expectClean('networks', drawn(single), drawn(single));
  expect(task.meta.verified).toEqual({ regions: { ...none, clean: 1 }, networks: { ...none, clean: 1 } });
});

test('one whose values overflow is counted apart', async ({ task }) => {
  const right = drawn(chain());
  const input = { ...right.input, data: Float32Array.of(3e38, -3e38) };
  const weights = new Map([...right.weights, ['a.c.weight', { shape: [1, 1, 1, 1], data: Float32Array.of(1e6) }]]);
  await expectClean('regions', right);
  await expectClean('regions', { ...right, weights, input });
  expect(task.meta.verified).toEqual({ regions: { clean: 1, inconclusive: 1 }, networks: none });
});

test('a failure is not counted, and names what failed', async ({ task }) => {
  const right = drawn(single);
  const { rule } = faulty('num-one-weight', convBatchNorm, {
    fused: (field, _match, fused) => ({
      ...fused,
      weight: mapped(field, fused.weight!, (w) => field.mul(w, field.of(2))),
    }),
  });
  const wrong = { ...right, fusion: fuse(right.fusion.reference, [rule]) };
  await expect(expectClean('regions', wrong)).rejects.toThrow(/^false alarm: exact, basis, algebra\n/);
  expect(task.meta.verified).toBeUndefined();
});

test('the same seed draws the same', () => {
  const texts = (seed: number) => fc.sample(regions(), { seed, numRuns: 5 }).map((draw) => draw[fc.toStringMethod]());
  expect(texts(1)).toEqual(texts(1));
  expect(texts(2)).not.toEqual(texts(1));
});

test('only a sweep cuts a property short', () => {
  expect(propertyOptions(5).plugins).toEqual([]);
});
