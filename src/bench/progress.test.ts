import { expect, test } from 'vitest';
import { progressText } from './progress.ts';
import type { SessionProgress } from './session.ts';

const timing = (step: SessionProgress, secondsLeft: number) =>
  progressText({ phase: 'time', model: 'repvit_m0_9', engine: 'wasm', session: 2, sessions: 6, step, secondsLeft });

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

test('a session says its step and the time left', () => {
  const task = 'time repvit_m0_9 on wasm (session 2 of 6)';
  expect([
    timing({ phase: 'load' }, 80.2),
    timing({ phase: 'warm-up' }, 60),
    timing({ phase: 'quad', quad: 3, quads: 24 }, 1),
    timing({ phase: 'quad', quad: 24, quads: 24 }, 0),
  ]).toEqual([
    { task, done: 0, total: 1, what: 'loading', secondsLeft: 80.2 },
    { task, done: 0, total: 1, what: 'warming up', secondsLeft: 60 },
    { task, done: 2, total: 24, what: 'quad 3 of 24', secondsLeft: 1 },
    { task, done: 23, total: 24, what: 'quad 24 of 24', secondsLeft: 0 },
  ]);
});
