import { describe, expect, test } from 'vitest';
import { FLOAT64, gamma } from '../network/precision.ts';
import { randomInput } from '../weights/random.ts';
import { type CoverageFigures, coverageMarkdown, coverageOf } from './coverage-figures.ts';

const [RUNS, SESSIONS, QUADS] = [10, 5, 8];

/** Quads of sessions that drift by `drift` against each other, on top of noise of `noise` and a true log ratio of `truth`. */
function sessionsOf(drift: number, noise: number, truth = 0): number[][][] {
  const between = randomInput([RUNS, SESSIONS], 1, 'between').data;
  const within = randomInput([RUNS, SESSIONS, QUADS], 2, 'within').data;
  const of = (length: number) => Array.from({ length }, (_, index) => index);
  return of(RUNS).map((run) =>
    of(SESSIONS).map((session) =>
      of(QUADS).map((quad) => {
        const index = run * SESSIONS + session;
        return truth + drift * between[index]! + noise * within[index * QUADS + quad]!;
      }),
    ),
  );
}

describe('coverageOf', () => {
  test('intervals over sessions hold the truth where those from within do not', () => {
    const coverage = coverageOf(sessionsOf(0.01, 0.002), 1);
    expect(coverage.ratios).toHaveLength(RUNS);
    expect(coverage.drawn.held / coverage.drawn.of).toBeGreaterThan(0.95);
    expect(coverage.drawnOneLook.held).toBeLessThan(coverage.drawn.held);
    expect(coverage.withinSessions).toMatchObject({ of: 50 });
    expect(coverage.withinSessions.held).toBeLessThan(25);
  });

  test('a ratio that is not 1 is not held', () => {
    const { drawn, runs } = coverageOf(sessionsOf(0.01, 0.002, 0.05), 1);
    expect(drawn.held / drawn.of).toBeLessThan(0.05);
    expect(runs.held).toBeLessThan(2);
  });

  test('gives the spread of the runs', () => {
    const { spread, range, ratios, halfWidths } = coverageOf([[[0.01]], [[0.03]]], 1);
    // Differences of numbers of this size, each with a few roundings.
    const rounding = gamma(8, FLOAT64.unitRoundoff) * Math.exp(0.03);
    expect(Math.abs(spread - 0.01 * Math.SQRT2)).toBeLessThanOrEqual(rounding);
    expect(Math.abs(range - (Math.exp(0.02) - 1))).toBeLessThanOrEqual(rounding);
    expect(ratios).toEqual([Math.exp(0.01), Math.exp(0.03)]);
    expect(halfWidths).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  });
});

test('coverageMarkdown says what was measured, and where', () => {
  const logRatios = sessionsOf(0.001, 0.002);
  const figures: CoverageFigures = {
    ...{
      model: 'repvit_m0_9',
      engine: 'onnxruntime',
      device: 'CPU',
      threads: 1,
      seed: 1,
      sessions: SESSIONS,
      quads: 24,
    },
    ...{ date: '2025-06-11T12:00:00.000Z', elapsedSeconds: 200, cpu: 'Some CPU', cores: 2, node: 'v20.20.2' },
    ...{
      fuseproof: '0.1.0',
      commit: null,
      loadAverageBefore: [0.1, 0, 0],
      loadAverageAfter: [1, 0, 0],
      stealPercent: null,
    },
    ...coverageOf(logRatios, 1),
    logRatios,
  };
  const text = coverageMarkdown(figures);
  expect(text).toContain('onnxruntime (CPU), 1 thread, 10 runs of 5 sessions');
  expect(text).toMatch(/\| intervals of 5 sessions drawn from all \| \d+ of 2000 \(\d+\.\d %\) \|/);
  expect(text).toContain('load average 0.10 before, 1.00 after, steal time unknown.');
});
