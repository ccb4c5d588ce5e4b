import type { BenchProgress } from './run.ts';
import type { SessionProgress } from './session.ts';

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

/** A run's event in words. */
export function progressText(event: BenchProgress): ProgressText {
  if (event.phase === 'verify') {
    const { model, engines, form, done, total } = event;
    return { task: `verify ${model} on ${engines.join(', ')}`, done, total, what: `${form} form` };
  }
  const { model, engine, session, sessions, step, secondsLeft } = event;
  const [done, total] = step.phase === 'quad' ? [step.quad - 1, step.quads] : [0, 1];
  const task = `time ${model} on ${engine} (session ${session} of ${sessions})`;
  return { task, done, total, what: stepText(step), secondsLeft };
}
