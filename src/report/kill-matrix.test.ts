import { expect, test } from 'vitest';
import type { FaultRow, KillMatrix } from '../verify/faults/kill-matrix.ts';
import { killMatrixTable } from './kill-matrix.ts';

const row: FaultRow = {
  id: 'bn-outer-bias-unscaled',
  title: 'outer batch norm folded into the kernel, not into the summed bias',
  source: 'plausible',
  group: 'batch norm',
  places: ['conv-batch-norm'],
  subjects: ['repvit, deploy'],
  draws: 4,
  redraws: 1,
  tiers: {
    structure: { isCalledFor: false, draws: 4, killed: 0, margin: null },
    exact: { isCalledFor: true, draws: 4, killed: 4, margin: null },
    basis: { isCalledFor: true, draws: 4, killed: 3, margin: 4.44 },
    algebra: { isCalledFor: true, draws: 4, killed: 4, margin: 11.96 },
    runtime: { isCalledFor: false, draws: 4, killed: 1, margin: 2.04 },
  },
  killed: false,
  survivors: [{ place: 'conv-batch-norm', subject: 'repvit, deploy', seed: 7, missedBy: ['basis'] }],
  defaultInit: { hidden: 2, of: 3 },
};

const killed: FaultRow = {
  ...row,
  id: 'act-gelu-tanh',
  group: 'activation, residual, head',
  tiers: { runtime: { isCalledFor: true, draws: 4, killed: 4, margin: 2.25 } },
  killed: true,
  survivors: [],
  defaultInit: { hidden: 3, of: 3 },
};

const clean: KillMatrix['clean'] = [
  { tier: 'structure', runs: 12, verdict: 'pass', headroom: null, alarms: [] },
  { tier: 'basis', runs: 12, verdict: 'pass', headroom: Number.POSITIVE_INFINITY, alarms: [] },
  { tier: 'algebra', runs: 12, verdict: 'fail', headroom: 0.5, alarms: ['windows, deploy, seed 3'] },
];

function tableOf(...faults: readonly FaultRow[]): string {
  return killMatrixTable({
    seed: 7,
    draws: 2,
    engines: ['wasm'],
    faults,
    killed: faults.filter((fault) => fault.killed).length,
    clean,
    notApplicable: [{ id: 'life-layout', title: 'not contiguous', source: 'seen', reason: 'it always is' }],
    seconds: 12.34,
  });
}

const lineOf = (table: string, start: string) => table.split('\n').find((line) => line.startsWith(start));

test('each tier of a fault in its own column, in 80 columns', () => {
  const table = tableOf(row, killed);
  expect(lineOf(table, 'batch norm')).toBe(
    'batch norm             struct exact  basis weights algebra dyadic runtime   init',
  );
  expect(lineOf(table, 'bn-outer')).toBe(
    'bn-outer-bias-unscaled      -    x* (4.4)*           12.0*          (2.0)    2/3',
  );
  expect(lineOf(table, 'act-gelu')).toBe(
    'act-gelu-tanh                                                        2.3* hidden',
  );
  expect(table.split('\n').filter((line) => line.length > 80)).toEqual([]);
});

test('a tier that should see a fault and never does is marked', () => {
  const blind: FaultRow = { ...row, tiers: { basis: { isCalledFor: true, draws: 4, killed: 0, margin: null } } };
  expect(lineOf(tableOf(blind), 'bn-outer')).toMatch(/ -\* +2\/3$/);
});

test('the last line counts the killed', () => {
  expect(tableOf(row, killed).split('\n').at(-1)).toBe('1 of 2 killed');
  expect(tableOf(killed).split('\n').at(-1)).toBe('1 of 1 killed');
});

test('a survivor is told with the tier that missed it and a command that draws it again', () => {
  const table = tableOf(row, killed);
  expect(table).toContain('survived: bn-outer-bias-unscaled in conv-batch-norm on repvit, deploy');
  expect(table).toContain('  npx fuseproof faults --fault bn-outer-bias-unscaled --seed 7 --draws 1\n');
  expect(tableOf(killed)).not.toContain('survived');
  const unseen: FaultRow = { ...row, draws: 0, survivors: [], tiers: {}, defaultInit: { hidden: 0, of: 0 } };
  expect(tableOf(unseen)).toContain('survived: bn-outer-bias-unscaled changed nothing on any subject');
});

test('clean runs: verdict, headroom and every false alarm', () => {
  const table = tableOf(row);
  expect(table).toMatch(/^ {2}structure +12 {2}pass$/m);
  expect(table).toMatch(/^ {2}basis +12 {2}pass +no error$/m);
  expect(table).toMatch(/^ {2}algebra +12 {2}fail +0\.500 x$/m);
  expect(table).toContain('false alarm: algebra on windows, deploy, seed 3');
});

test('the closest kill that is called for, and how many faults a fresh network hides', () => {
  const table = tableOf(row, killed);
  expect(table).toContain('closest kill that is called for: act-gelu-tanh by runtime, 2.3 decades');
  expect(table).toMatch(/freshly initialised network: 1 of\s+2/);
});

test('few faults are told in full; of many, those that cannot be planted', () => {
  expect(tableOf(row)).toContain('seen: plausible');
  expect(tableOf(row)).not.toContain('life-layout');
  const many = tableOf(row, killed, row, killed);
  expect(many).not.toContain('seen: plausible');
  expect(many).toContain('life-layout: not contiguous: it always is');
});
