import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { InputError } from '../network/errors.ts';
import type { ChildMessage } from './verify-child.ts';
import type { Job, ModelReport, Tell } from './verify-job.ts';

/** Compiled: it stands beside this module in the built package. */
const CHILD = new URL('./verify-child.js', import.meta.url);

/**
 * Runs jobs on several processes, each started once.
 * @param tell of a job, by its index
 * @returns the reports in the order of the jobs, each as soon as it and those before it are there
 * @throws InputError where a job does; Error where a process dies. The other processes are then stopped
 */
export async function* runJobs(
  jobs: readonly Job[],
  processes: number,
  tell: (job: number) => Tell,
  childFile: URL = CHILD,
): AsyncGenerator<ModelReport> {
  const threads = Math.max(1, Math.floor(availableParallelism() / processes));
  const children = Array.from({ length: processes }, () =>
    fork(childFile, {
      serialization: 'advanced',
      // Threads of the garbage collector would wait for each other's cores.
      execArgv: ['--single-threaded-gc'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, FUSEPROOF_MATMUL_THREADS: String(threads) },
    }),
  );
  const replies = jobs.map(deferred);
  // The largest first: begun last, it would keep one process busy and the others idle.
  const queue = [...jobs.keys()].sort((a, b) => jobs[b]!.weightCount - jobs[a]!.weightCount);
  const work = async (child: ChildProcess): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      await ask(child, jobs[job]!, tell(job)).then(replies[job]!.resolve, replies[job]!.reject);
    }
    if (child.connected) child.disconnect();
  };
  const done = Promise.all(children.map(work));
  // A child in the middle of its sums hears of no disconnection: a signal to this process has to end it.
  const end = (signal: NodeJS.Signals): void => {
    for (const child of children) child.kill('SIGKILL');
    process.kill(process.pid, signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.once(signal, end);
  try {
    for (const { promise } of replies) yield await promise;
    await done;
  } finally {
    for (const signal of signals) process.off(signal, end);
    for (const child of children) child.kill();
  }
}

interface Deferred {
  readonly promise: Promise<ModelReport>;
  readonly resolve: (report: ModelReport) => void;
  readonly reject: (error: unknown) => void;
}

function deferred(): Deferred {
  let settle: Omit<Deferred, 'promise'> | undefined;
  const promise = new Promise<ModelReport>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // A failure is told when its turn comes.
  promise.catch(() => {});
  return { promise, ...settle! };
}

/** One job, one reply. */
function ask(child: ChildProcess, job: Job, tell: Tell): Promise<ModelReport> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: ChildMessage) => {
      if (message.kind === 'progress') tell.progress(message.done, message.total, message.what);
      else if (message.kind === 'note') tell.note(message.line);
      else {
        child.off('message', onMessage).off('exit', onExit);
        if (message.kind === 'result') resolve(message.report);
        else reject(message.isInput ? new InputError(message.message) : new Error(message.message));
      }
    };
    const onExit = (code: number | null, signal: string | null) => {
      const end = signal === null ? `ended with code ${code}` : `was killed (${signal})`;
      reject(new Error(`the process that verified ${job.model.name} ${end} before it had a result`));
    };
    if (!child.connected) {
      onExit(child.exitCode, child.signalCode);
      return;
    }
    child.on('message', onMessage).once('exit', onExit);
    child.send(job);
  });
}
