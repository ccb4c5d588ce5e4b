/** Networks that were really trained: their batch norms' statistics are of data. Weights and test images are in digits. */
import { describe, expect, it } from 'vitest';
import { openEngine } from '../src/engines/index.ts';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import { roundWeights } from '../src/fused/fuse.ts';
import { formsOf, loadSubject } from '../src/golden/subject.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { weightShapesByKey } from '../src/network/graph.ts';
import type { Network } from '../src/network/ops.ts';
import { elements, type Tensor, type Weights } from '../src/network/tensor.ts';
import { buildMiniature } from '../src/reference/config.ts';
import { TIERS, verify } from '../src/verify/verify.ts';
import { randomInput } from '../src/weights/random.ts';
import { FOLDER, goldenNamed, readGolden } from './goldens.ts';

const IMAGES = 360;
/** Images that every region is checked on. */
const SOME = 8;
const LEAST_ACCURACY = 0.97;

const { labels } = Object.fromEntries(await readGolden('digits/test.safetensors'));

/** The best class of each image. */
function top1({ shape, data }: Tensor): number[] {
  const [images = 0, classes = 0] = shape;
  return Array.from({ length: images }, (_, image) => {
    const row = [...data.subarray(image * classes, (image + 1) * classes)];
    return row.indexOf(Math.max(...row));
  });
}

describe.each([
  { name: 'digits_repvit', forms: ['train', 'deploy'] },
  { name: 'digits_repmlpnet', forms: ['train', 'deploy-official', 'deploy'] },
])('$name', ({ name, forms }) => {
  it('is trained: its batch norms are of data, not as PyTorch starts them', async () => {
    const { network, weights } = await loadSubject(goldenNamed(name), FOLDER);
    const norms = network.nodes.filter(({ op }) => op.kind === 'batchNorm');
    expect(norms.length).toBeGreaterThan(10);
    for (const { weights: keys } of norms) {
      expect(weights.get(keys.running_var!)!.data.every((value) => value === 1)).toBe(false);
    }
    const count = [...weightShapesByKey(network).values()].reduce((sum, shape) => sum + elements(shape), 0);
    expect(count).toBeLessThan(300_000);
    expect(count).toBeGreaterThan(100_000);
  });

  it.each(['float64', 'onnxruntime', 'wasm'])(
    'every form has one accuracy and one top-1 of each test image, on %s',
    async (by) => {
      const subject = await loadSubject(goldenNamed(name), FOLDER);
      const engine = by === 'float64' ? undefined : await openEngine(by, { threads: 1 });
      const logitsOf = async (network: Network, weights: Weights): Promise<Tensor> => {
        const inputs = new Map([['input', subject.input]]);
        if (engine === undefined) return (await evaluateFloat64(network, weights, inputs)).get(network.output)!;
        const loaded = await engine.load(network, weights);
        return loaded.run(inputs).finally(() => loaded.dispose());
      };
      const found = new Map<string, number[]>();
      for (const form of formsOf(subject, true)) {
        found.set(form.name, top1(await logitsOf(form.network, roundWeights(form.weights))));
      }
      expect([...found.keys()]).toEqual(forms);
      const train = found.get('train')!;
      expect(train).toHaveLength(IMAGES);
      for (const [form, classes] of found) expect(classes, form).toEqual(train);
      const right = train.filter((best, image) => best === labels!.data[image]).length;
      expect(right / IMAGES).toBeGreaterThanOrEqual(LEAST_ACCURACY);
      // As PyTorch's own logits have it.
      const golden = await readGolden(goldenNamed(name).file);
      for (const form of ['train', 'deploy']) expect(top1(golden.get(form)!), form).toEqual(train);
    },
  );

  it('verify passes on it, in every tier', async () => {
    const golden = goldenNamed(name);
    const { network, weights, input, config } = await loadSubject(
      { ...golden, input: { ...golden.input, batch: SOME } },
      FOLDER,
    );
    const some = { shape: [SOME, ...input.shape.slice(1)], data: input.data.subarray(0, SOME * 32 * 32) };
    const engines = [await openEngine('onnxruntime', { threads: 1 }), await openEngine('wasm')];
    for (const form of deployForms(network)) {
      const { verdict, tiers, failures, problems } = await verify({
        fusion: fuseTo(form, network),
        form: form.name,
        weights,
        input: some,
        engines,
        miniature: fuseTo(form, buildMiniature(config)),
        probe: (shape, probe) => randomInput(shape, 1, probe),
      });
      expect({ verdict, failures, problems }, form.name).toEqual({ verdict: 'pass', failures: [], problems: [] });
      expect(new Set(tiers.map(({ tier }) => tier)), form.name).toEqual(new Set(TIERS));
    }
  });
});
