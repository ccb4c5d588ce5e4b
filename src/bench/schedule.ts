/** Which session is run when, and when a setting has enough of them. */
import type { Failure, Skipped } from '../report/types.ts';
import { hodgesLehmannInterval } from './estimate.ts';
import type { RunSession } from './parent.ts';
import { isNull } from './prepare.ts';
import { LOOKS, NARROW, type OverSessions, overSessions } from './replicates.ts';
import type { SessionProgress, SessionResult } from './session.ts';
import { failure, keysOf, type Setting } from './settings.ts';

/** What all sessions of a run may take together, and what they aim at. */
export interface Plan {
  /** Quads of each pair in one session. */
  readonly quads: number;
  /** Time for all sessions: beyond the first look it is spent on what is not yet narrow. */
  readonly seconds: number;
  /** The most that the fewest sessions may take on one engine, with the fewest quads. */
  readonly longestMs: number;
}

/** Share of the time that the sessions up to the first look may take, loading included: as many again fit, and more sessions tell more than longer ones. */
const FIRST_LOOK_SHARE = 0.5;
/** What is timed in one session: below, the warm-up would be all of it; above, more sessions tell more. */
const SESSION_MS = { least: 1500, most: 12_000 };
/** What a process needs to start, to load and for the first inferences: a guess, until sessions have shown it. */
const LOADING_MS = 1500;

/** Why no further session was run. */
export type Stopped = 'width' | 'sessions' | 'time' | 'interrupted' | 'failed';

/** A setting and what its sessions gave. */
export interface TimedSetting {
  readonly setting: Setting;
  readonly results: readonly SessionResult[];
  readonly stopped: Stopped;
}

/** What a run says while it times, never during a sample. */
export interface TimingProgress {
  readonly phase: 'time';
  readonly setting: Setting;
  /** Number of the session in its setting, from 1. */
  readonly session: number;
  /** Sessions of this setting up to its next look. */
  readonly sessions: number;
  /** Sessions of the run that are over, and those that are due up to the next look. */
  readonly done: number;
  readonly due: number;
  readonly step: SessionProgress;
  /** What the sessions so far say of the deploy form against the train form; undefined before the first one is over. */
  readonly soFar: OverSessions | undefined;
  readonly secondsLeft: number;
}

export interface Timed {
  readonly settings: readonly TimedSetting[];
  readonly skipped: readonly Skipped[];
  readonly failures: readonly Failure[];
}

interface Running {
  readonly setting: Setting;
  readonly results: SessionResult[];
  /** Milliseconds of its sessions, from fork to end. */
  readonly took: number[];
  stopped?: Stopped | 'skipped';
}

/** One estimate for each session, on the log scale. */
export function sessionEstimates(results: readonly SessionResult[], pair: number): number[] {
  return results.map(({ pairs }) => hodgesLehmannInterval(pairs[pair]!.logRatios).estimate);
}

/** Whether every ratio of the setting is known well enough: on width, never on sign. */
function isNarrow({ setting, results }: Running): boolean {
  return setting.pairs.every((pair, index) => {
    const { halfWidth } = overSessions(sessionEstimates(results, index));
    return isNull(pair) || (halfWidth !== undefined && halfWidth <= NARROW);
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export interface Scheduling {
  readonly seed: number;
  /** What is said where an engine is too slow: how to let it take longer. */
  readonly advice: (setting: Setting) => string;
  readonly runSession: RunSession;
  /** A clock in milliseconds. */
  readonly now: () => number;
  /** Ends the run: what is complete is kept. */
  readonly signal: AbortSignal | undefined;
  readonly progress: (event: TimingProgress) => void;
}

/**
 * Sessions one after another, one of each setting in turn, so that what changes on the machine in minutes reaches all of
 * them. After each look the settings that are known well enough stop; the others go on while the time lasts.
 */
export async function timeAll(settings: readonly Setting[], plan: Plan, how: Scheduling): Promise<Timed> {
  const { seed, runSession, now, signal, progress } = how;
  const skipped: Skipped[] = [];
  const failures: Failure[] = [];
  const running = settings.map((setting): Running => ({ setting, results: [], took: [] }));
  const [firstLook = 1] = LOOKS;
  const expectedMs = ({ took }: Running) => (took.length > 0 ? mean(took) : budgetMs + LOADING_MS);
  const began = now();
  let done = 0;
  const loading: number[] = [];
  let budgetMs = SESSION_MS.least;

  /** An equal part of what is left up to the first look: what a skipped setting leaves goes to the others. */
  function shareOfFirstLook(due: number): number {
    const leftMs = FIRST_LOOK_SHARE * 1000 * plan.seconds - (now() - began);
    const share = leftMs / due - (loading.length > 0 ? mean(loading) : LOADING_MS);
    return Math.min(SESSION_MS.most, Math.max(SESSION_MS.least, share));
  }

  async function runOne(each: Running, session: number, look: number): Promise<void> {
    const { setting, results, took } = each;
    const { model, engine, threads, size, pairs, expected } = setting;
    const fail = (what: string) => {
      failures.push(failure(setting, 'timing', `session ${session}: ${what}`));
      each.stopped = 'failed';
    };
    const start = now();
    const open = running.filter(({ stopped }) => stopped === undefined);
    const due = open.reduce((sum, { results: { length } }) => sum + look - length, 0);
    if (look === firstLook) budgetMs = shareOfFirstLook(due);
    const leftMs = open.reduce((sum, other) => sum + expectedMs(other) * (look - other.results.length), 0);
    const train = pairs.findIndex(({ baseline }) => baseline === 'reference');
    const soFar = results.length > 0 && train >= 0 ? overSessions(sessionEstimates(results, train)) : undefined;
    const onStep = (step: SessionProgress) => {
      const secondsLeft = Math.max(0, leftMs - (now() - start)) / 1000;
      progress({ phase: 'time', setting, session, sessions: look, done, due: done + due, step, soFar, secondsLeft });
    };
    const longestMs = plan.longestMs / firstLook;
    const { quads } = plan;
    const request = {
      model,
      size,
      seed,
      pairs,
      engine: engine.name,
      threads,
      session,
      quads,
      budgetMs,
      longestMs,
      expected,
    };
    try {
      const result = await runSession(request, onStep, signal);
      if (result.kind === 'too slow') {
        const seconds = (milliseconds: number) => Math.ceil((firstLook * milliseconds) / 1000);
        const { resolution: _, ...keys } = keysOf(setting);
        const reason = `${firstLook} sessions would take ${seconds(result.neededMs)} s or more, over the limit of ${seconds(longestMs)} s${how.advice(setting)}`;
        skipped.push({ ...keys, reason });
        each.stopped = 'skipped';
        return;
      }
      if (result.info.device !== engine.device) {
        throw new Error(`it was verified on ${engine.device}, and ran on ${result.info.device} when timed`);
      }
      results.push(result);
      took.push(now() - start);
      loading.push(Math.max(0, now() - start - budgetMs));
      done++;
      if (result.tensorsLeaked) fail(`${result.tensorsLeaked} tensors were left behind`);
    } catch (error) {
      if (!signal?.aborted) fail(error instanceof Error ? error.message : String(error));
    }
  }

  for (const [index, look] of LOOKS.entries()) {
    if (signal?.aborted) break;
    for (const each of running) {
      const { stopped, results } = each;
      if (stopped !== undefined || index === 0) continue;
      if (isNarrow(each)) each.stopped = 'width';
      // What the settings before it still need is spent already.
      else if (leftFor(each) < expectedMs(each) * (look - results.length)) each.stopped = 'time';
    }
    for (let session = (LOOKS[index - 1] ?? 0) + 1; session <= look; session++) {
      for (const each of running) {
        if (signal?.aborted) break;
        if (each.stopped === undefined) await runOne(each, session, look);
      }
    }

    function leftFor(each: Running): number {
      const before = running.slice(0, running.indexOf(each)).filter(({ stopped }) => stopped === undefined);
      const promised = before.reduce((sum, other) => sum + expectedMs(other) * (look - other.results.length), 0);
      return 1000 * plan.seconds - (now() - began) - promised;
    }
  }
  return {
    settings: running
      .filter(({ results }) => results.length > 0)
      .map((each) => ({ ...each, stopped: stoppedOf(each, signal?.aborted === true) })),
    skipped,
    failures,
  };
}

function stoppedOf(each: Running, isInterrupted: boolean): Stopped {
  if (each.stopped !== undefined && each.stopped !== 'skipped') return each.stopped;
  if (isInterrupted && each.results.length < LOOKS.at(-1)!) return 'interrupted';
  return isNarrow(each) ? 'width' : 'sessions';
}
