/**
 * What sessions say together. The ratio drifts between processes, so that an interval from within one is too narrow:
 * sessions, not samples, are the replicates.
 */
import { studentCentral, studentQuantile } from './student.ts';

/** Numbers of sessions after which a setting may stop. */
export const LOOKS: readonly number[] = [5, 8, 12];

/** Half-width of the interval, on the log scale, that is narrow enough. */
export const NARROW = 0.01;

/** Of the interval over all looks together. */
export const CONFIDENCE = 0.95;

/** Mean of the sessions' estimates on the log scale, with its interval. */
export interface OverSessions {
  readonly mean: number;
  /** Half of the interval's width; undefined where one session leaves nothing to estimate it by. */
  readonly halfWidth: number | undefined;
  /** Standard error of the mean; undefined where halfWidth is. */
  readonly error: number | undefined;
  readonly sessions: number;
}

/**
 * The mean over sessions and its t-interval, wide enough for any of the looks to be the last one (Bonferroni).
 * @param estimates one for each session, on the log scale
 * @param looks at which the sessions might have stopped: 1 where their number was fixed beforehand
 * @throws RangeError where there are none
 */
export function overSessions(estimates: readonly number[], looks: number = LOOKS.length): OverSessions {
  const sessions = estimates.length;
  if (sessions === 0) throw new RangeError('no sessions to take a mean of');
  const mean = estimates.reduce((sum, value) => sum + value, 0) / sessions;
  if (sessions === 1) return { mean, halfWidth: undefined, error: undefined, sessions };
  const squares = estimates.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const error = Math.sqrt(squares / (sessions - 1) / sessions);
  const t = studentQuantile(1 - (1 - CONFIDENCE) / looks, sessions - 1);
  return { mean, halfWidth: t * error, error, sessions };
}

/** Both ends of an interval of a ratio; nulls where there is none. */
export function ends({ mean, halfWidth }: Pick<OverSessions, 'mean' | 'halfWidth'>): {
  low: number | null;
  high: number | null;
} {
  if (halfWidth === undefined) return { low: null, high: null };
  return { low: Math.exp(mean - halfWidth), high: Math.exp(mean + halfWidth) };
}

/** How far an interval reaches, in words; as a factor where a percentage would not say it. */
export function asideText(halfWidth: number): string {
  const far = halfWidth < 0.1 ? `${(100 * halfWidth).toFixed(1)} %` : `a factor of ${factorText(Math.exp(halfWidth))}`;
  return `${far} to either side`;
}

function factorText(factor: number): string {
  return factor < 1000 ? factor.toPrecision(3) : 'over 1000';
}

/** Two-sided p of "the ratio is 1", times the number of looks; undefined where there is one session. */
export function pOfNoDifference({ mean, error, sessions }: OverSessions): number | undefined {
  if (error === undefined) return undefined;
  const p = error === 0 ? Number(mean === 0) : 1 - studentCentral(Math.abs(mean) / error, sessions - 1);
  return Math.min(1, Math.max(0, p) * LOOKS.length);
}

/**
 * The mean of several independent estimates (the log of their geometric mean) with its interval: Welch and
 * Satterthwaite's degrees of freedom, rounded down.
 * @throws RangeError where there are none
 */
export function together(estimates: readonly OverSessions[]): Pick<OverSessions, 'mean' | 'halfWidth'> {
  if (estimates.length === 0) throw new RangeError('no estimates to take a mean of');
  const mean = estimates.reduce((sum, estimate) => sum + estimate.mean, 0) / estimates.length;
  let variance = 0;
  let spread = 0;
  for (const { error, sessions } of estimates) {
    if (error === undefined) return { mean, halfWidth: undefined };
    variance += error ** 2;
    spread += error ** 4 / (sessions - 1);
  }
  if (variance === 0) return { mean, halfWidth: 0 };
  const degrees = Math.max(1, Math.floor(variance ** 2 / spread));
  const t = studentQuantile(1 - (1 - CONFIDENCE) / LOOKS.length, degrees);
  return { mean, halfWidth: (t * Math.sqrt(variance)) / estimates.length };
}
