/**
 * Every published network at the size that it was published at, in all forms, on the oracle, and on ONNX Runtime where
 * that takes seconds; those of 32x32 are in check.test.ts. `npm run golden:check` asks every engine, and takes other
 * batches and threads, too.
 */
import { beforeAll, expect, it } from 'vitest';
import { openEngine } from '../src/engines/index.ts';
import { deployForms } from '../src/fused/forms.ts';
import { checkGolden, type LabelledEngine } from '../src/golden/check.ts';
import { variants } from '../src/reference/variants.ts';
import { FOLDER, goldens, isFullSize, networkOf } from './goldens.ts';

const full = goldens.filter(isFullSize);

it('there is a golden of every published network', () => {
  const sizes = goldens.map(({ model, input }) => `${model} ${input.height}x${input.width}`);
  expect(sizes).toEqual(
    expect.arrayContaining(variants.map(({ name, resolution }) => `${name} ${resolution}x${resolution}`)),
  );
});

/** RepViT takes other batches and threads at 20x33; RepMLPNet takes no smaller input, so here on the smallest. */
const CROSS_CHECKED = 'repmlpnet_t224';

const engines: LabelledEngine[] = [];
beforeAll(async () => {
  engines.push({ label: 'onnxruntime', engine: await openEngine('onnxruntime') });
});

it.each(full)('$name', async (golden) => {
  const crossChecks = golden.name === CROSS_CHECKED;
  const onEngine = golden.config.family === 'repvit' || crossChecks;
  const options = { crossChecks, ...(onEngine && { engines }) };
  const { verdict, problems, rows } = await checkGolden(golden, FOLDER, options);
  expect(problems).toEqual([]);
  expect(verdict).toBe('pass');
  const forms = ['train', ...deployForms(networkOf(golden)).map(({ name }) => name)];
  const oracle = rows.filter(({ by }) => by === 'float64');
  expect(oracle.map(({ form }) => form)).toEqual(
    forms.flatMap((form) => Array<string>(crossChecks ? 3 : 1).fill(form)),
  );
  // 1000 logits, and of each of four stages its sums and samples.
  for (const { compared } of oracle) expect(compared).toBeGreaterThan(2000);
  const byEngine = rows.filter(({ by, what }) => by === 'onnxruntime' && what === 'values');
  expect(new Set(byEngine.map(({ form }) => form))).toEqual(new Set(onEngine ? forms : []));
  for (const { compared } of byEngine) expect(compared).toBeGreaterThanOrEqual(1000);
});
