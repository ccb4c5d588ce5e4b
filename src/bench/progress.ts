import type { BenchProgress } from './run.ts';
import type { SessionProgress } from './session.ts';

/** What a progress line shows. */
export interface ProgressText {
  /** Changes with each model verified and each session. */
  readonly task: string;
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

/** `1 min 20 s`, in steps of 5 s: it is an estimate from the time budget. */
function duration(seconds: number): string {
  const rounded = Math.ceil(seconds / 5) * 5;
  const minutes = Math.floor(rounded / 60);
  return minutes === 0 ? `${rounded} s` : `${minutes} min ${rounded % 60} s`;
}

function stepText(step: SessionProgress): string {
  if (step.phase === 'quad') return `quad ${step.quad} of ${step.quads}`;
  return step.phase === 'load' ? 'loading' : 'warming up';
}

/** A run's event in words. */
export function progressText(event: BenchProgress): ProgressText {
  if (event.phase === 'verify') {
    return { task: `verify ${event.model}`, done: event.done, total: event.total, what: '' };
  }
  const { model, engine, session, sessions, step, secondsLeft } = event;
  const [done, total] = step.phase === 'quad' ? [step.quad - 1, step.quads] : [0, 1];
  const what = `${stepText(step)}, at most ${duration(secondsLeft)} left`;
  return { task: `time ${model} on ${engine} (${session} of ${sessions})`, done, total, what };
}
