/**
 * Entry of a process that verifies (see verify-pool.ts): jobs in, one after another; progress and one reply for each
 * out, over the IPC channel. Prints nothing; the parent does.
 */
import { InputError } from '../network/errors.ts';
import { tuneV8 } from './tune-v8.ts';
import { type Job, jobRunner, type ModelReport } from './verify-job.ts';

/** What a verifying process says to its parent. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly done: number; readonly total: number; readonly what: string }
  | { readonly kind: 'note'; readonly line: string }
  | { readonly kind: 'result'; readonly report: ModelReport }
  | { readonly kind: 'error'; readonly isInput: boolean; readonly message: string };

const send = (message: ChildMessage) => process.send?.(message);
tuneV8();
const runJob = jobRunner();

process.on('message', async (job: Job) => {
  try {
    const report = await runJob(job, {
      progress: (done, total, what) => send({ kind: 'progress', done, total, what }),
      note: (line) => send({ kind: 'note', line }),
    });
    send({ kind: 'result', report });
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const isInput = error instanceof InputError;
    send({ kind: 'error', isInput, message: isInput ? error.message : message });
  }
});
// The parent has no more jobs, or is gone.
process.once('disconnect', () => process.exit());
