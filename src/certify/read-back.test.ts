import { expect, test } from 'vitest';
import { cases } from '../../properties/conformance/cases.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { fuseAndRound } from '../fused/fuse.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import { toFloat32, type Weights } from '../network/tensor.ts';
import { buildMiniature, resolveModel } from '../reference/config.ts';
import { randomWeights } from '../weights/random.ts';
import { encodeArtefact, FORMATS } from './artefact.ts';
import { readBack } from './read-back.ts';

interface Example {
  readonly name: string;
  readonly network: Network;
  readonly weights: Weights<Float32Array>;
}

/** Of a small network of the same make. */
async function fused(model: string): Promise<readonly Example[]> {
  const { config } = await resolveModel(model);
  const reference = buildMiniature(config);
  const weights = randomWeights(reference, 1);
  return deployForms(reference).map((form) => {
    const fusion = fuseTo(form, reference);
    return { name: `${model}, ${form.name}`, network: fusion.network, weights: fuseAndRound(fusion, weights) };
  });
}

/** Grouped, dilated and unequal convolutions among them. */
const single = cases
  .filter(({ network }) => weightShapesByKey(network).size > 0)
  .map(({ name, network, weights }): Example => {
    const rounded = new Map([...weights].map(([key, tensor]) => [key, toFloat32(tensor)]));
    return { name, network, weights: rounded };
  });
/** Numbers of other bits. */
function differing(a: Float32Array, b: Float32Array): number {
  const [first, second] = [a, b].map((data) => new Uint32Array(data.slice().buffer)) as [Uint32Array, Uint32Array];
  return first.length === second.length ? first.filter((bits, i) => bits !== second[i]).length : Number.NaN;
}

/** Fewer would say that most of the examples were left out. */
const FEWEST = 10_000;

const examples = [...(await fused('repvit_m0_9')), ...(await fused('repmlpnet_t224')), ...single];

test.each(FORMATS)('%s: every number comes back as it was, to the bit', async (format) => {
  let compared = 0;
  for (const { name, network, weights } of examples) {
    const files = await encodeArtefact(format, network, weights, {}).catch(() => undefined);
    // What TensorFlow.js cannot compute is not written.
    if (files === undefined) continue;
    const found = await readBack(format, files, network, weights, (key) => key);
    expect([...found.keys()], name).toEqual([...weights.keys()]);
    for (const [key, { shape, data }] of weights) {
      const same = found.get(key)!;
      expect(same.shape, `${name}: ${key}`).toEqual(shape);
      expect(differing(same.data, data), `${name}: ${key}`).toBe(0);
      compared += data.length;
    }
  }
  expect(compared).toBeGreaterThan(FEWEST);
});

test.each(FORMATS)('%s: a number that is another in the file is another when it is read back', async (format) => {
  const { network, weights } = examples[0]!;
  const files = await encodeArtefact(format, network, weights, {});
  const [name, bytes] = [...files][0]!;
  const key = [...weightShapesByKey(network).keys()].find((each) => weights.get(each)!.data.length > 1)!;
  const { data } = weights.get(key)!;
  // The first number of the weight, wherever the file has it.
  const at = Buffer.from(bytes).indexOf(Buffer.from(data.slice(0, 1).buffer));
  expect(at).toBeGreaterThan(-1);
  const other = Uint8Array.from(bytes);
  other[at]! ^= 1;
  const read = () => readBack(format, new Map([...files, [name, other]]), network, weights, (same) => same);
  // PyTorch's archive has a checksum of its own.
  if (format === 'pth') return expect(read()).rejects.toThrow(/does not have its checksum/);
  const found = await read();
  expect([...weights].filter(([each, tensor]) => differing(found.get(each)!.data, tensor.data) > 0)).toHaveLength(1);
});
