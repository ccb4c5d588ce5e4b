import { expect, test } from 'vitest';
import { TIERS, type TierSummary, type Verification } from '../verify/verify.ts';
import { explanation } from './explanation.ts';

const summary = (tier: TierSummary['tier'], rest: Partial<TierSummary> = {}): TierSummary => ({
  tier,
  verdict: 'pass',
  compared: 1234567,
  pieces: 3,
  worstRatio: 0.25,
  ...rest,
});

const explain = (verdict: Verification['verdict'], ...tiers: readonly TierSummary[]): string =>
  explanation({ model: 'net', form: 'deploy', verdict, tiers });

const flat = (text: string): string => text.replaceAll(/\s+/g, ' ');

test('each tier asks, finds and says what that is worth, in 80 columns', () => {
  const text = explain('pass', ...TIERS.map((tier) => summary(tier)));
  for (const tier of TIERS) expect(text).toContain(`  ${tier}: `);
  expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(flat(text)).toContain('1,234,567 values agree; the largest difference fits 4.0 times under');
  expect(text.match(/-> pass: /g)).toHaveLength(TIERS.length);
  expect(text.split('\n').at(-1)).toBe('  Together: pass. Every tier passes.');
});

test('what was not asked is not explained', () => {
  const text = explain('pass', summary('exact'));
  expect(text.match(/^ {2}\w+: /gm)).toEqual(['  exact: ', '  Together: ']);
  expect(flat(text)).toContain('Every tier that was asked for passes; others were not.');
});

test('weights that were fused in float32 are said to be, with the worst of them', () => {
  const rounding = { correctly: 5, inFloat32: 3210, worstUlps: 2.7501, worstWeight: 'stem.weight[0, 1]' };
  expect(flat(explain('pass', summary('basis', { rounding })))).toContain(
    '3,210 of them only as well as fusing in float32 can: stem.weight[0, 1] is off by 2.75 units',
  );
  const right = { correctly: 5, inFloat32: 0, worstUlps: 0.5 };
  expect(flat(explain('pass', summary('basis', { rounding: right })))).toContain(
    'at most half a unit in its last place',
  );
});

test('what does not pass promises nothing', () => {
  const text = flat(explain('fail', summary('runtime', { verdict: 'fail', engine: 'wasm', form: 'deploy' })));
  expect(text).toContain('-> wasm, deploy: fail. See above');
  expect(text).not.toContain('values agree');
  expect(text).not.toContain('The limit is derived');
  expect(text).toContain('Together: fail. At least one tier fails');
  expect(flat(explain('inconclusive', summary('runtime', { verdict: 'inconclusive' })))).toContain('That is no pass.');
});
