import { expect, test } from 'vitest';
import { progressText } from './progress.ts';
import { overSessions } from './replicates.ts';
import type { TimingProgress } from './schedule.ts';

const setting = {
  model: { name: 'repvit_m0_9' },
  engine: { name: 'wasm' },
} as TimingProgress['setting'];

const timing = (rest: Pick<TimingProgress, 'step' | 'secondsLeft'> & Partial<TimingProgress>) =>
  progressText({ phase: 'time', setting, session: 2, sessions: 5, done: 6, due: 30, soFar: undefined, ...rest });

test('a verification says how far it is', () => {
  const engines = ['wasm', 'cpu'];
  const event = { phase: 'verify', model: 'repvit_m0_9', engines, form: 'deploy', done: 99, total: 200 } as const;
  expect(progressText(event)).toEqual({
    task: 'verify repvit_m0_9 on wasm, cpu',
    done: 99,
    total: 200,
    what: 'deploy form',
  });
});

test('a session says its step, how far the run is and the time left', () => {
  const task = 'time repvit_m0_9 on wasm (session 2 of 5)';
  expect([
    timing({ step: { phase: 'load' }, secondsLeft: 80.2 }),
    timing({ step: { phase: 'warm-up' }, secondsLeft: 60 }),
    timing({ step: { phase: 'quad', quad: 3, quads: 4 }, secondsLeft: 1 }),
  ]).toEqual([
    { task, done: 6, total: 30, what: 'loading', secondsLeft: 80.2 },
    { task, done: 6, total: 30, what: 'warming up', secondsLeft: 60 },
    { task, done: 6.5, total: 30, what: 'quad 3 of 4', secondsLeft: 1 },
  ]);
});

test('and what the sessions so far say, with an interval from the second one on', () => {
  const step = { phase: 'quad', quad: 1, quads: 4 } as const;
  const said = (estimates: readonly number[]) => timing({ step, secondsLeft: 1, soFar: overSessions(estimates) }).what;
  expect(said([Math.log(1.5)])).toBe('so far 1.500, quad 1 of 4');
  expect(said([Math.log(1.5), Math.log(1.5)])).toBe('so far 1.500 (1.500 to 1.500), quad 1 of 4');
  expect(said([-3, 3])).toBe('so far 1.000 (still a factor of over 1000 to either side), quad 1 of 4');
});
