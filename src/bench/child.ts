/**
 * Entry of a session's process (see parent.ts): one request in, progress and one reply out, over the IPC channel. Prints
 * nothing; the parent draws.
 */
import { openEngine } from '../engines/index.ts';
import { preparePair } from './prepare.ts';
import { type SessionProgress, type SessionResult, type SessionSkip, type SessionSpec, timePair } from './session.ts';

/** What a session's process says to its parent. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly progress: SessionProgress }
  | { readonly kind: 'result'; readonly result: SessionResult | SessionSkip }
  | { readonly kind: 'error'; readonly message: string };

function send(message: ChildMessage, sent = () => {}): void {
  process.send?.(message, undefined, {}, sent);
}

async function answer(spec: SessionSpec): Promise<ChildMessage> {
  try {
    const engine = await openEngine(spec.engine, spec.threads === undefined ? {} : { threads: spec.threads });
    const report = (progress: SessionProgress) => send({ kind: 'progress', progress });
    return { kind: 'result', result: await timePair(engine, preparePair(spec, spec.pair), spec, report) };
  } catch (error) {
    return { kind: 'error', message: error instanceof Error ? error.message : String(error) };
  }
}

process.once('message', async (spec: SessionSpec) => {
  // Exits by itself: an engine's thread pool may otherwise keep the process alive.
  send(await answer(spec), () => process.exit());
});
// Without a parent there is nobody to time for.
process.once('disconnect', () => process.exit());
