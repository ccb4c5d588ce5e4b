/** What many sessions of a form against itself say of the method: the truth is 1, on the log scale 0. */
import { randomInput } from '../weights/random.ts';
import type { Machine } from './environment.ts';
import { hodgesLehmannInterval, quantile } from './estimate.ts';
import { LOOKS, overSessions } from './replicates.ts';

/** Sets of sessions that are drawn for the coverage: runs alone are too few to tell 90 % from 95 %. */
const DRAWS = 2000;

/** How often intervals held the truth. */
export interface Held {
  readonly held: number;
  readonly of: number;
}

export interface Coverage {
  /** The ratio of each run: exp of the mean over its sessions. */
  readonly ratios: readonly number[];
  /** Standard deviation of the log ratios of the runs. */
  readonly spread: number;
  /** Largest ratio over the smallest, less 1. */
  readonly range: number;
  /** The runs' own t-intervals, as `bench` gives them. */
  readonly runs: Held;
  /** The same interval, of sets of as many sessions drawn from all of them without replacement. */
  readonly drawn: Held;
  /** The same at 95 % for one look, as if the number of sessions had been fixed. */
  readonly drawnOneLook: Held;
  /** For comparison: the signed-rank interval from within each single session. */
  readonly withinSessions: Held;
  /** 5 %, 50 % and 95 % quantile of the half-width of the drawn intervals, on the log scale. */
  readonly halfWidths: readonly [number, number, number];
}

export interface CoverageFigures
  extends Coverage,
    Pick<
      Machine,
      | 'date'
      | 'elapsedSeconds'
      | 'cpu'
      | 'cores'
      | 'node'
      | 'fuseproof'
      | 'commit'
      | 'loadAverageBefore'
      | 'loadAverageAfter'
      | 'stealPercent'
    > {
  readonly model: string;
  readonly engine: string;
  readonly device: string;
  readonly threads: number;
  readonly seed: number;
  /** Of each run. */
  readonly sessions: number;
  readonly quads: number;
  /** By run, session and quad. */
  readonly logRatios: readonly (readonly (readonly number[])[])[];
}

function count(holds: readonly boolean[]): Held {
  return { held: holds.filter((held) => held).length, of: holds.length };
}

function holds(estimates: readonly number[], looks: number): boolean {
  const { mean, halfWidth } = overSessions(estimates, looks);
  return halfWidth !== undefined && Math.abs(mean) <= halfWidth;
}

/** So many different items, drawn by numbers in [-1, 1]. */
function drawn<T>(items: readonly T[], size: number, numbers: ArrayLike<number>): T[] {
  const left = [...items];
  return Array.from({ length: size }, (_, i) => {
    const index = Math.min(left.length - 1, Math.floor(((numbers[i]! + 1) / 2) * left.length));
    return left.splice(index, 1)[0]!;
  });
}

/**
 * @param logRatios by run, session and quad
 * @throws RangeError where a run has no session, or a session no quad
 */
export function coverageOf(logRatios: readonly (readonly (readonly number[])[])[], seed: number): Coverage {
  const intervals = logRatios.flat().map((quads) => hodgesLehmannInterval(quads));
  const estimates = logRatios.map((sessions) => sessions.map((quads) => hodgesLehmannInterval(quads).estimate));
  const means = estimates.map((run) => overSessions(run).mean);
  const all = estimates.flat();
  const size = estimates[0]?.length ?? 0;
  const numbers = randomInput([DRAWS, size], seed, 'coverage').data;
  const sets = Array.from({ length: DRAWS }, (_, i) => drawn(all, size, numbers.subarray(i * size, (i + 1) * size)));
  const widths = sets.map((set) => overSessions(set).halfWidth ?? Number.POSITIVE_INFINITY);
  const mean = means.reduce((sum, value) => sum + value, 0) / means.length;
  const variance = means.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, means.length - 1);
  return {
    ratios: means.map(Math.exp),
    spread: Math.sqrt(variance),
    range: Math.exp(Math.max(...means) - Math.min(...means)) - 1,
    runs: count(estimates.map((run) => holds(run, LOOKS.length))),
    drawn: count(sets.map((set) => holds(set, LOOKS.length))),
    drawnOneLook: count(sets.map((set) => holds(set, 1))),
    withinSessions: count(intervals.map(({ low, high }) => low <= 0 && high >= 0)),
    halfWidths: [quantile(widths, 0.05), quantile(widths, 0.5), quantile(widths, 0.95)],
  };
}

function percent(value: number, digits = 2): string {
  return `${(100 * value).toFixed(digits)} %`;
}

function heldText({ held, of }: Held): string {
  return `${held} of ${of} (${percent(held / of, 1)})`;
}

export function coverageMarkdown(figures: CoverageFigures): string {
  const { model, engine, device, threads, sessions, ratios, spread, range, halfWidths } = figures;
  const loads = [figures.loadAverageBefore, figures.loadAverageAfter].map((load) => load[0].toFixed(2));
  const widths = halfWidths.map((width) => percent(width)).join(', ');
  return [
    '# The method on a ratio that is known: 1',
    '',
    `The deploy form of ${model} is loaded twice and timed against itself: ${engine} (${device}), ${threads} thread${threads === 1 ? '' : 's'}, ${ratios.length} runs of ${sessions} sessions, each a fresh process, up to ${figures.quads} quads a session.`,
    '',
    '| what | measured |',
    '|---|---:|',
    `| ratios of the runs | ${ratios.map((ratio) => ratio.toFixed(4)).join(', ')} |`,
    `| their standard deviation | ${percent(spread)} |`,
    `| largest over smallest, less 1 | ${percent(range)} |`,
    `| the runs' intervals that hold 1 | ${heldText(figures.runs)} |`,
    `| intervals of ${sessions} sessions drawn from all | ${heldText(figures.drawn)} |`,
    `| the same at 95 % for one look | ${heldText(figures.drawnOneLook)} |`,
    `| intervals from within one session, for comparison | ${heldText(figures.withinSessions)} |`,
    `| half-width of the drawn ones: 5 %, 50 %, 95 % quantile | ${widths} |`,
    '',
    `${figures.date}, ${figures.elapsedSeconds.toFixed(0)} s on ${figures.cpu}, ${figures.cores} cores, Node ${figures.node}, fuseproof ${figures.fuseproof}${figures.commit === null ? '' : ` (${figures.commit})`}; load average ${loads.join(' before, ')} after, steal time ${figures.stealPercent === null ? 'unknown' : `${figures.stealPercent.toFixed(2)} %`}.`,
    '',
  ].join('\n');
}
