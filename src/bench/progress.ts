import { asideText, ends, type OverSessions } from './replicates.ts';
import type { BenchProgress } from './run.ts';
import type { SessionProgress } from './session.ts';
import type { Setting } from './settings.ts';

/** What a progress line shows. */
export interface ProgressText {
  /** Changes with each model verified and each session. */
  readonly task: string;
  readonly done: number;
  readonly total: number;
  readonly what: string;
  readonly secondsLeft?: number;
}

function stepText(step: SessionProgress): string {
  if (step.phase === 'quad') return `quad ${step.quad} of ${step.quads}`;
  return step.phase === 'load' ? 'loading' : 'warming up';
}

/** Half-width, on the log scale, beyond which the ends of an interval say nothing. */
const WIDEST_SHOWN = 1;

/** Of the deploy form against the train form, as the sessions so far have it. */
function soFarText(soFar: OverSessions): string {
  const { low, high } = ends(soFar);
  const known = low === null || high === null ? '' : ` (${low.toFixed(3)} to ${high.toFixed(3)})`;
  // Two sessions on a loaded machine may leave a ratio open by a factor of 10^43.
  const interval = (soFar.halfWidth ?? 0) > WIDEST_SHOWN ? ` (still ${asideText(soFar.halfWidth!)})` : known;
  return `so far ${Math.exp(soFar.mean).toFixed(3)}${interval}`;
}

function placeText({ model, engine }: Setting): string {
  return `${model.name} on ${engine.name}`;
}

/** A run's event in words. */
export function progressText(event: BenchProgress): ProgressText {
  if (event.phase === 'verify') {
    const { model, engines, form, done, total } = event;
    return { task: `verify ${model} on ${engines.join(', ')}`, done, total, what: `${form} form` };
  }
  if (event.phase === 'streams') {
    const { setting, arm, streams, done, total } = event;
    const what = `${arm} form, ${streams} stream${streams === 1 ? '' : 's'}`;
    return { task: `throughput of ${placeText(setting)}`, done, total, what };
  }
  if (event.phase === 'profile') {
    return { task: `profile ${placeText(event.setting)}, ${event.arm}`, done: 0, total: 1, what: 'node by node' };
  }
  const { setting, session, sessions, done, due, step, soFar, secondsLeft } = event;
  const within = step.phase === 'quad' ? (step.quad - 1) / step.quads : 0;
  return {
    task: `time ${placeText(setting)} (session ${session} of ${sessions})`,
    done: done + within,
    total: due,
    what: [...(soFar === undefined ? [] : [soFarText(soFar)]), stepText(step)].join(', '),
    secondsLeft,
  };
}
