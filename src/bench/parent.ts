import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { ChildMessage } from './child.ts';
import type { SessionProgress, SessionResult, SessionSkip, SessionSpec } from './session.ts';

/** Compiled: it stands beside this module in the built package. */
const CHILD = new URL('./child.js', import.meta.url);

/** What is kept of the child's error output, for the message. */
const STDERR_KEPT = 500;

/**
 * Runs one session in a fresh process and waits until that process is gone.
 * @param onProgress called on the child's messages only
 * @param signal ends the process at once
 * @throws Error in one line where the session fails, is ended, or its process dies without a reply
 */
export async function forkSession(
  spec: SessionSpec,
  onProgress: (progress: SessionProgress) => void,
  signal?: AbortSignal,
  childFile: URL = CHILD,
): Promise<SessionResult | SessionSkip> {
  const child = fork(childFile, {
    serialization: 'advanced',
    execArgv: [],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let reply: Exclude<ChildMessage, { kind: 'progress' }> | undefined;
  const end = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', end);
  let stderr = '';
  child.on('message', (message: ChildMessage) => {
    if (message.kind === 'progress') onProgress(message.progress);
    else reply = message;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT);
  });
  // All messages have arrived when the channel is disconnected, all output when the process is closed.
  const gone = Promise.all([once(child, 'close'), once(child, 'disconnect')]);
  child.send(spec, () => {}); // a child that dies at once is reported by its end, not by this write
  const [[code, killedBy]] = await gone;
  signal?.removeEventListener('abort', end);

  if (reply?.kind === 'result') return reply.result;
  if (reply?.kind === 'error') throw new Error(reply.message);
  const how = killedBy === null ? `ended with code ${code}` : `was killed (${killedBy})`;
  const said = stderr.trim().replaceAll(/\s+/g, ' ');
  throw new Error(`the timing process ${how} before it had a result${said === '' ? '' : `; it said: ${said}`}`);
}
