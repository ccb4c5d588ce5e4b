import { ends, type OverSessions } from './replicates.ts';
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

/** Of the deploy form against the train form, as the sessions so far have it. */
function soFarText(soFar: OverSessions): string {
  const { low, high } = ends(soFar);
  const interval = low === null || high === null ? '' : ` (${low.toFixed(3)} to ${high.toFixed(3)})`;
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
