/** Checkpoints that PyTorch, safetensors and huggingface_hub wrote, of timm's networks and the originals. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toFloat64, type Weights } from '../src/network/tensor.ts';
import { buildNetwork, parseConfig } from '../src/reference/config.ts';
import { familyOf } from '../src/reference/families.ts';
import { recognise, soleModel } from '../src/reference/recognise.ts';
import { checkWeights } from '../src/weights/check.ts';
import { readCheckpoint } from '../src/weights/checkpoint.ts';
import listing from './checkpoints/checkpoints.json' with { type: 'json' };

const { checkpoints, refused } = listing;
const file = (name: string) => join(import.meta.dirname, 'checkpoints', name);

/** As golden/oracle/make_checkpoints.py makes it of PyTorch's tensors. */
function digest(weights: Weights): string {
  const sha256 = createHash('sha256');
  for (const key of [...weights.keys()].sort()) {
    const tensor = weights.get(key)!;
    sha256.update(`${[key, ...tensor.shape].join(' ')}\n`);
    const { buffer, byteOffset, byteLength } = toFloat64(tensor).data;
    sha256.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return sha256.digest('hex');
}

test('the files are those that are listed, by SHA-256', async () => {
  const listed = Object.assign({}, ...[...checkpoints, ...refused].map(({ sha256 }) => sha256));
  const names = (await readdir(file('.'))).filter((name) => name !== 'checkpoints.json');
  const sha256Of = async (name: string) =>
    createHash('sha256')
      .update(await readFile(file(name)))
      .digest('hex');
  const found = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await sha256Of(name)] as const)));
  expect(found).toEqual(listed);
  expect(checkpoints.length).toBeGreaterThan(15);
});

const FORMATS: readonly (readonly [RegExp, string])[] = [
  [/_legacy\.pth$/, 'PyTorch (legacy)'],
  [/\.index\.json$/, 'sharded safetensors'],
  [/\.safetensors$/, 'safetensors'],
  [/./, 'PyTorch'],
];
/** The official code's older RepVGGDW, in today's format. */
const formatOf = (name: string) =>
  name === 'official_legacy.pth' ? 'PyTorch' : FORMATS.find(([of]) => of.test(name))![1];

describe.each(checkpoints)(
  '$file',
  ({ file: name, network, scheme, form, entry, others = [], tensors, digest: expected }) => {
    test('every tensor has the values that PyTorch has', async () => {
      const read = await readCheckpoint(file(name));
      expect(read).toMatchObject({ format: formatOf(name), entry, otherEntries: others });
      expect(read.weights.size).toBe(tensors);
      expect(digest(read.weights)).toBe(expected);
    });

    test('is recognised by its keys and shapes', async () => {
      const { weights } = await readCheckpoint(file(name));
      const recognised = await recognise(weights, 'mine', name);
      expect(recognised).toMatchObject({ scheme, form });
      const config = await parseConfig(network, name);
      if (form !== 'train') {
        // What it was fused from is not in it.
        expect(() => soleModel(recognised, name)).toThrow(/Say which with --model/);
        return;
      }
      const resolution = familyOf(config).resolution(config);
      expect(soleModel(recognised, name)).toEqual({ name: 'mine', config, resolution });
      const size = { batch: 1, height: resolution, width: resolution };
      expect(checkWeights(buildNetwork(config, size, 'mine'), recognised.weights, name)).toBeUndefined();
    });
  },
);

test('another state dict of a file by its name', async () => {
  const [model, ema] = await Promise.all([
    readCheckpoint(file('trainer.pth')),
    readCheckpoint(file('trainer.pth'), 'model_ema'),
  ]);
  expect(ema.otherEntries).toEqual(['model']);
  const key = 'stem.conv1.c.weight';
  expect(ema.weights.get(key)!.data).toEqual(model.weights.get(key)!.data.map((value) => value / 2));
  await expect(readCheckpoint(file('trainer.pth'), 'ema')).rejects.toThrow(
    /no state dict "ema"; it has: model, model_ema/,
  );
});

test.each([
  ['refused_module.pth', /needs "Sequential" of the Python module "torch\.nn\.modules\.container"/],
  ['refused_torchscript.pt', /is a TorchScript archive, which holds a program/],
])('%s is refused', async (name, message) => {
  await expect(readCheckpoint(file(name))).rejects.toThrow(message);
});
