import { expect, test } from 'vitest';
import { fuse, fuseAndRound } from '../fused/fuse.ts';
import type { Tensor } from '../network/tensor.ts';
import { position } from '../network/tensor.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { verify } from '../verify/verify.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { verificationTable } from './verification-table.ts';

const SEED = 5;
const reference = buildRepVit(completeRepVitConfig({ embed_dim: [8, 16], depth: [1, 1], num_classes: 4 }), {
  batch: 1,
  height: 16,
  width: 24,
});
const fusion = fuse(reference);
const weights = randomWeights(reference, SEED);

/** The table of a verification of stored weights, one tap of some keys multiplied. */
async function tableOf(factors: Readonly<Record<string, number>>): Promise<string> {
  const stored = new Map<string, Tensor<Float32Array>>(fuseAndRound(fusion, weights));
  for (const [key, factor] of Object.entries(factors)) {
    const { shape, data } = stored.get(key)!;
    stored.set(key, { shape, data: data.map((value, i) => (i === 4 ? value * factor : value)) });
  }
  const { logits: _, ...verification } = await verify({
    fusion,
    weights,
    deployWeights: stored,
    input: randomInput([1, 3, 16, 24], SEED),
    engines: [],
    probe: (shape, name) => randomInput(shape, SEED, name),
  });
  return verificationTable({ ...verification, seconds: 1, peakMemoryBytes: 2 ** 30 }, ({ key }) => `replay ${key}`);
}

const ROUNDED = 1 + 2 ** -23;
const EARLY = { 'stem.conv1.weight': ROUNDED, 'stem.conv1.bias': ROUNDED, 'stem.conv2.weight': ROUNDED };
const LATE = 'stages.1.blocks.0.token_mixer.weight';

test('a fault is not hidden behind weights that were only fused in float32', async () => {
  const table = await tableOf({ ...EARLY, [LATE]: 1.01 });
  expect(table).toContain(`key ${LATE}`);
  expect(table).toContain('1 of 144 elements differ');
  expect(table).toContain(`replay ${LATE}`);
  expect(table).not.toContain('replay stem');
  expect(table).toContain('what differs by more');
});

test('weights that were fused in float32 are one sentence, and still a fail', async () => {
  const table = await tableOf(EARLY);
  expect(table).toMatch(/^repvit, deploy: fail/);
  expect(table.replaceAll(/\s+/g, ' ')).toMatch(
    /[23] weights differ by no more than fusing in float32 makes \(at most [12](\.00)? ulp\); nothing differs by more/,
  );
});

test('position', () => {
  expect(position(215, [24, 1, 3, 3])).toBe('[23, 0, 2, 2]');
});
