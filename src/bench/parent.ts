import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { SessionProgress } from './session.ts';
import type { ChildMessage, TaskName, TaskRequest, Tasks } from './tasks.ts';

/** Compiled: they stand beside this module in the built package. */
const CHILD = new URL('./child.js', import.meta.url);

/** What is kept of a child's error output, for the message. */
const STDERR_KEPT = 500;

/** A child under way. */
export interface ForkedChild {
  readonly process: ChildProcess;
  /** When it is gone: why that came before it had a result. */
  readonly gone: Promise<string>;
}

/**
 * Forks a child for one task.
 * @param signal ends the process at once
 * @param doing what it does, for the message of its end
 */
export function forkChild(file: URL, signal: AbortSignal | undefined, doing = 'timing'): ForkedChild {
  const child = fork(file, { serialization: 'advanced', execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  const end = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', end);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT);
  });
  // All messages have arrived when the channel is disconnected, all output when the process is closed.
  const gone = Promise.all([once(child, 'close'), once(child, 'disconnect')]).then(([[code, killedBy]]) => {
    signal?.removeEventListener('abort', end);
    const how = killedBy === null ? `ended with code ${code}` : `was killed (${killedBy})`;
    const said = stderr.trim().replaceAll(/\s+/g, ' ');
    return `the ${doing} process ${how} before it had a result${said === '' ? '' : `; it said: ${said}`}`;
  });
  return { process: child, gone };
}

const DOING: Readonly<Record<TaskName, string>> = {
  session: 'timing',
  profile: 'profiling',
  engine: 'verifying',
  verification: 'verifying',
};

/**
 * Runs one task in a fresh process and waits until that process is gone.
 * @param onProgress called on the child's messages only
 * @param signal ends the process at once
 * @throws Error in one line where the task fails, is ended, or its process dies without a reply
 */
export async function forkTask<Name extends TaskName>(
  task: Name,
  spec: Tasks[Name]['spec'],
  onProgress: (progress: Tasks[Name]['progress']) => void = () => {},
  signal?: AbortSignal,
  childFile: URL = CHILD,
): Promise<Tasks[Name]['result']> {
  const { process: child, gone } = forkChild(childFile, signal, DOING[task]);
  let reply: Exclude<ChildMessage, { kind: 'progress' }> | undefined;
  child.on('message', (message: ChildMessage) => {
    if (message.kind === 'progress') onProgress(message.progress);
    else reply = message;
  });
  const request = { task, spec } as TaskRequest;
  child.send(request, () => {}); // a child that dies at once is reported by its end, not by this write
  const end = await gone;
  if (reply?.kind === 'result') return reply.result;
  throw new Error(reply?.kind === 'error' ? reply.message : end);
}

/** Runs one session in a process of its own. */
export type RunSession = (
  spec: Tasks['session']['spec'],
  onProgress: (progress: SessionProgress) => void,
  signal?: AbortSignal,
) => Promise<Tasks['session']['result']>;

/** Profiles one arm in a process of its own. */
export type RunProfile = (spec: Tasks['profile']['spec'], signal?: AbortSignal) => Promise<Tasks['profile']['result']>;

/** Verification of engines that only a process of their own can have. */
export interface ForkedVerification {
  readonly describe: (spec: Tasks['engine']['spec']) => Promise<Tasks['engine']['result']>;
  readonly verify: (
    spec: Tasks['verification']['spec'],
    onProgress: (progress: Tasks['verification']['progress']) => void,
    signal?: AbortSignal,
  ) => Promise<Tasks['verification']['result']>;
}

export const forkedVerification: ForkedVerification = {
  describe: (spec) => forkTask('engine', spec),
  verify: (spec, onProgress, signal) => forkTask('verification', spec, onProgress, signal),
};

export const runSession: RunSession = (spec, onProgress, signal) => forkTask('session', spec, onProgress, signal);

export const runProfile: RunProfile = (spec, signal) => forkTask('profile', spec, undefined, signal);
