/** Every published network at the size that it was published at, on the oracle. */
import { expect, it } from 'vitest';
import { checkGolden, definitionProblems } from '../src/golden/check.ts';
import { variants } from '../src/reference/variants.ts';
import { FOLDER, goldens, isFullSize } from './goldens.ts';

const full = goldens.filter(isFullSize);

it('there is a golden of every published network', () => {
  const sizes = goldens.map(({ model, input }) => `${model} ${input.height}x${input.width}`);
  expect(sizes).toEqual(
    expect.arrayContaining(variants.map(({ name, resolution }) => `${name} ${resolution}x${resolution}`)),
  );
});

/**
 * Each RepViT is evaluated at a small size in check.test.ts, so here one current, the deepest and one legacy; RepMLPNet takes
 * no smaller input. `npm run golden:check` evaluates all, on engines, too.
 */
const REPVIT = ['repvit_m0_9', 'repvit_m2_3', 'repvit_m3'];

const evaluated = full.filter(({ name, config }) => config.family === 'repmlpnet' || REPVIT.includes(name));

it('the others are of networks that are defined here as they were there', () => {
  const others = full.filter((golden) => !evaluated.includes(golden));
  expect(others).toHaveLength(6);
  for (const golden of others) {
    expect(definitionProblems(golden)).toEqual([]);
    expect(goldens.some(({ name, model }) => model === golden.model && name !== golden.name)).toBe(true);
  }
});

it.each(evaluated)('$name', async (golden) => {
  const { verdict, problems, rows } = await checkGolden(golden, FOLDER, {
    crossChecks: false,
    forms: ['train', 'deploy'],
  });
  expect(problems).toEqual([]);
  expect(verdict).toBe('pass');
  expect(rows.map(({ form }) => form)).toEqual(['train', 'deploy']);
  // 1000 logits, and of each of four stages its sums and samples.
  for (const { compared } of rows) expect(compared).toBeGreaterThan(2000);
});
