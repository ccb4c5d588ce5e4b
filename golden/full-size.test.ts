/**
 * Every published network at the size that it was published at, on the oracle; those of 32x32 are in check.test.ts.
 * `npm run golden:check` evaluates all forms on engines, in other batches and on other threads, too.
 */
import { expect, it } from 'vitest';
import { checkGolden } from '../src/golden/check.ts';
import { variants } from '../src/reference/variants.ts';
import { FOLDER, goldens, isFullSize } from './goldens.ts';

const full = goldens.filter(isFullSize);

it('there is a golden of every published network', () => {
  const sizes = goldens.map(({ model, input }) => `${model} ${input.height}x${input.width}`);
  expect(sizes).toEqual(
    expect.arrayContaining(variants.map(({ name, resolution }) => `${name} ${resolution}x${resolution}`)),
  );
});

/** RepViT takes other batches and threads at 20x33; RepMLPNet takes no smaller input, so here on the smallest. */
const CROSS_CHECKED = 'repmlpnet_t224';

it.each(full)('$name', async (golden) => {
  const crossChecks = golden.name === CROSS_CHECKED;
  const { verdict, problems, rows } = await checkGolden(golden, FOLDER, { crossChecks, forms: ['train', 'deploy'] });
  expect(problems).toEqual([]);
  expect(verdict).toBe('pass');
  const forms = ['train', 'deploy'].flatMap((form) => Array<string>(crossChecks ? 3 : 1).fill(form));
  expect(rows.map(({ form }) => form)).toEqual(forms);
  // 1000 logits, and of each of four stages its sums and samples.
  for (const { compared } of rows) expect(compared).toBeGreaterThan(2000);
});
