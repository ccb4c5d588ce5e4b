/** From sessions to the rows of the report: nothing is left out, and every number comes with how sure it is. */

import { withHolm } from '../report/holm.ts';
import { counted } from '../report/text.ts';
import type { Measurement, NullControl, Profile, SessionRatio, Speedup, Suite } from '../report/types.ts';
import { median, quantile } from './estimate.ts';
import { type Arm, type ArmPair, armsOf, isNull } from './prepare.ts';
import type { ProfileResult } from './profile.ts';
import {
  asideText,
  CONFIDENCE,
  ends,
  LOOKS,
  NARROW,
  type OverSessions,
  overSessions,
  pOfNoDifference,
  together,
} from './replicates.ts';
import { sessionEstimates, type TimedSetting } from './schedule.ts';
import { keysOf, type Setting } from './settings.ts';

const METHOD = `exp of the mean over sessions (a fresh process each) of the Hodges-Lehmann median of ln(baseline / arm) over quads (ABBA or BAAB at random); t-interval over sessions, at 1 - 0.05/3 for looks after ${LOOKS.join(', ')} sessions`;

/** A null control that is further off in a session strayed. */
const STRAYED = 0.01;
/** More than this share of strayed sessions, and the machine is too noisy. */
const TOO_MANY = 1 / 3;

function nonEmpty<T>(values: readonly T[]): [T, ...T[]] {
  const [first, ...rest] = values;
  if (first === undefined) throw new Error('a session gave no samples');
  return [first, ...rest];
}

/** Median over the sessions of their medians, in milliseconds. */
export function latencyOf({ results }: TimedSetting, arm: Arm): number {
  return median(results.map(({ arms }) => median(arms[arm]!.samples)));
}

function measurement(timed: TimedSetting, arm: Arm): Measurement {
  const { setting, results } = timed;
  const sessions = results.map(({ arms }, index) => {
    const { samples, inferencesPerSample } = arms[arm]!;
    const samplesMs = nonEmpty(samples);
    return { session: index + 1, medianMs: median(samplesMs), inferencesPerSample, samplesMs };
  });
  const all = sessions.flatMap(({ samplesMs }) => samplesMs);
  return {
    ...keysOf(setting),
    arm,
    latencyMs: latencyOf(timed, arm),
    minMs: all.reduce((least, value) => Math.min(least, value)),
    p05Ms: quantile(all, 0.05),
    p95Ms: quantile(all, 0.95),
    sessions: nonEmpty(sessions),
  };
}

/** One pair of a setting: each session's ratio, and what they say together. */
interface Ratio {
  readonly over: OverSessions;
  readonly estimates: readonly number[];
  readonly row: Pick<Speedup, 'estimate' | 'low' | 'high' | 'confidence'> & {
    sessions: [SessionRatio, ...SessionRatio[]];
  };
}

function ratioOf({ results }: TimedSetting, pair: number, plannedQuads: number): Ratio {
  const estimates = sessionEstimates(results, pair);
  const over = overSessions(estimates);
  const sessions = results.map(({ pairs, settled }, index): SessionRatio => {
    const { logRatios, checked } = pairs[pair]!;
    return {
      session: index + 1,
      estimate: Math.exp(estimates[index]!),
      plannedQuads,
      logRatios: nonEmpty(logRatios),
      checkedOutputs: checked,
      settled,
    };
  });
  const row = { estimate: Math.exp(over.mean), ...ends(over), confidence: CONFIDENCE, sessions: nonEmpty(sessions) };
  return { over, estimates, row };
}

function outcomeOf({ mean, halfWidth, sessions }: OverSessions): Speedup['outcome'] {
  if (sessions < LOOKS[0]! || halfWidth === undefined || halfWidth > NARROW) return 'inconclusive';
  if (mean - halfWidth > 0) return 'faster';
  return mean + halfWidth < 0 ? 'slower' : 'no difference shown';
}

const WHY_STOPPED: Readonly<Record<TimedSetting['stopped'], string>> = {
  width: '',
  sessions: '',
  time: 'the time was up',
  interrupted: 'the run was interrupted',
  failed: 'a session failed',
};

function noteOf({ over, row }: Ratio, { setting, results, stopped }: TimedSetting, isNoisy: boolean): string {
  const { halfWidth, sessions } = over;
  const fewest = Math.min(...row.sessions.map(({ logRatios }) => logRatios.length));
  const planned = row.sessions[0].plannedQuads;
  const unsettled = results.filter(({ settled }) => !settled).length;
  const wide =
    halfWidth === undefined
      ? 'one session has no interval'
      : halfWidth > NARROW
        ? `${asideText(halfWidth)} after ${sessions} sessions, where 1 % is asked for`
        : '';
  return [
    wide,
    (wide || sessions < LOOKS[0]!) && WHY_STOPPED[stopped],
    fewest < planned ? `${counted(fewest, 'quad')} a session instead of ${planned}, for the time is limited` : '',
    unsettled > 0 ? `the warm-up had not settled to 1 % in ${unsettled} of ${sessions} sessions` : '',
    setting.engine.software ? 'a software adapter, whose times say nothing of a GPU' : '',
    isNoisy ? 'the null control strays: this machine is too noisy' : '',
  ]
    .filter((note) => note)
    .join('; ');
}

function nullControl(timed: TimedSetting, arm: Arm, { row, estimates }: Ratio): NullControl {
  const strayed = estimates.filter((estimate) => Math.abs(estimate) > STRAYED).length;
  return { ...keysOf(timed.setting), arm, ...row, strayed, noisy: strayed > TOO_MANY * estimates.length };
}

function speedup(timed: TimedSetting, { baseline, arm }: ArmPair, ratio: Ratio, isNoisy: boolean): Speedup {
  const { over, row } = ratio;
  const { sessions, ...estimate } = row;
  return {
    ...keysOf(timed.setting),
    baseline,
    arm,
    ...estimate,
    halfWidth: over.halfWidth ?? null,
    outcome: outcomeOf(over),
    stopped: timed.stopped,
    pValue: pOfNoDifference(over) ?? null,
    pHolm: null, // across all, below
    method: METHOD,
    note: noteOf(ratio, timed, isNoisy),
    sessions,
  };
}

/** Speed-ups of two networks or more in one setting, together. */
function suitesOf(rated: readonly (readonly [Speedup, OverSessions])[]): Suite[] {
  const groups = new Map<string, [Speedup, OverSessions][]>();
  for (const [row, over] of rated) {
    const key = JSON.stringify([row.engine, row.threads, row.batch, row.baseline, row.arm]);
    groups.set(key, [...(groups.get(key) ?? []), [row, over]]);
  }
  return [...groups.values()].flatMap((group) => {
    const [[{ engine, threads, batch, baseline, arm }]] = group as [[Speedup, OverSessions]];
    const [first, second, ...rest] = group.map(([{ model }]) => model);
    if (first === undefined || second === undefined) return [];
    const all = together(group.map(([, over]) => over));
    return {
      ...{ engine, threads, batch, baseline, arm, models: [first, second, ...rest] as Suite['models'] },
      estimate: Math.exp(all.mean),
      ...ends(all),
      confidence: CONFIDENCE,
    };
  });
}

/** The profile of one arm. */
export function profileRow(setting: Setting, arm: Arm, { steps, inferences, peakGflops }: ProfileResult): Profile {
  const totalMs = steps.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const nodes = steps.map(({ name, op, milliseconds, macs }) => {
    // 2 operations a multiply-accumulate; milliseconds and 10^9 make 10^6.
    const gflops = macs === undefined || milliseconds === 0 ? null : (2 * macs) / (milliseconds * 1e6);
    return {
      name,
      op,
      milliseconds,
      share: milliseconds / totalMs,
      macs: macs ?? null,
      gflops,
      peakShare: gflops === null || peakGflops === undefined ? null : gflops / peakGflops,
    };
  });
  return { ...keysOf(setting), arm, inferences, totalMs, peakGflops: peakGflops ?? null, nodes };
}

/** The rows of all timed settings. */
export function rowsOf(
  settings: readonly TimedSetting[],
  plannedQuads: number,
): { measurements: Measurement[]; speedups: Speedup[]; nullControls: NullControl[]; suites: Suite[] } {
  const measurements: Measurement[] = [];
  const nullControls: NullControl[] = [];
  const rated: [Speedup, OverSessions][] = [];
  for (const timed of settings) {
    const { pairs } = timed.setting;
    for (const arm of armsOf(pairs)) measurements.push(measurement(timed, arm));
    const ratios = pairs.map((pair, index) => [pair, ratioOf(timed, index, plannedQuads)] as const);
    const nulls = ratios.filter(([pair]) => isNull(pair)).map(([{ arm }, ratio]) => nullControl(timed, arm, ratio));
    nullControls.push(...nulls);
    const isNoisy = nulls.some(({ noisy }) => noisy);
    for (const [pair, ratio] of ratios) {
      if (!isNull(pair)) rated.push([speedup(timed, pair, ratio, isNoisy), ratio.over]);
    }
  }
  return { measurements, speedups: withHolm(rated.map(([row]) => row)), nullControls, suites: suitesOf(rated) };
}
