/**
 * Entry of a session's process (see parent.ts): one request in, progress and one reply out, over the IPC channel. Prints
 * nothing; the parent draws.
 */
import { openEngine } from '../engines/index.ts';
import { armsOf, prepareArms } from './prepare.ts';
import {
  type Engines,
  type SessionProgress,
  type SessionResult,
  type SessionSkip,
  type SessionSpec,
  timeArms,
} from './session.ts';

/** What a session's process says to its parent. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly progress: SessionProgress }
  | { readonly kind: 'result'; readonly result: SessionResult | SessionSkip }
  | { readonly kind: 'error'; readonly message: string };

function send(message: ChildMessage, sent = () => {}): void {
  process.send?.(message, undefined, {}, sent);
}

async function openEngines({ engine, threads, pairs }: SessionSpec): Promise<Engines> {
  const options = threads === undefined ? {} : { threads };
  const optimised = await openEngine(engine, options);
  if (!armsOf(pairs).includes('reference-raw')) return { optimised };
  return { optimised, raw: await openEngine(engine, { ...options, optimise: false }) };
}

async function answer(spec: SessionSpec): Promise<ChildMessage> {
  try {
    const engines = await openEngines(spec);
    const prepared = prepareArms(spec, armsOf(spec.pairs));
    const report = (progress: SessionProgress) => send({ kind: 'progress', progress });
    return { kind: 'result', result: await timeArms(engines, prepared, spec, report) };
  } catch (error) {
    return { kind: 'error', message: error instanceof Error ? error.message : String(error) };
  }
}

// A terminal's ctrl-C goes to every process of its group; the parent decides what becomes of this one.
process.on('SIGINT', () => {});
process.once('message', async (spec: SessionSpec) => {
  // Exits by itself: an engine's thread pool may otherwise keep the process alive.
  send(await answer(spec), () => process.exit());
});
// Without a parent there is nobody to time for.
process.once('disconnect', () => process.exit());
