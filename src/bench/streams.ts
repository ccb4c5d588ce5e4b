/** Throughput: several streams at once, each a process that infers one image after another. */
import { once } from 'node:events';
import type { Throughput } from '../report/types.ts';
import { median, quantile } from './estimate.ts';
import { type ForkedChild, forkChild } from './parent.ts';
import { type Arm, armsOf } from './prepare.ts';
import { keysOf, type Setting } from './settings.ts';
import type { StreamReply, StreamRequest } from './stream.ts';

/** Compiled: it stands beside this module in the built package. */
const CHILD = new URL('./stream-child.js', import.meta.url);

/** Streams infer at least so long, and so many times each. */
const WINDOW_MS = 1500;
const FEWEST_INFERENCES = 3;

/** What a run says while it measures throughput, between windows. */
export interface StreamProgress {
  readonly phase: 'streams';
  readonly setting: Setting;
  readonly arm: Arm;
  readonly streams: number;
  readonly done: number;
  readonly total: number;
}

/** @throws Error where the child fails or is gone */
async function ask({ process: child, gone }: ForkedChild, request: StreamRequest): Promise<StreamReply> {
  const reply = once(child, 'message');
  child.send(request, () => {});
  const first = await Promise.race([reply, gone]);
  if (typeof first === 'string') throw new Error(first);
  const [message] = first as [StreamReply];
  if (message.kind === 'error') throw new Error(message.message);
  return message;
}

/** What several streams did at the same time. */
export function throughputOf(
  took: readonly (readonly number[])[],
  batch: number,
): Pick<
  Throughput,
  'streams' | 'seconds' | 'inferences' | 'imagesPerSecond' | 'latencyMs' | 'p95Ms' | 'checkedOutputs'
> {
  const all = took.flat();
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  // Each stream by its own time: the last inferences do not end together.
  const perSecond = sum(took.map((each) => (1000 * each.length) / sum(each)));
  return {
    streams: took.length,
    seconds: Math.max(...took.map(sum)) / 1000,
    inferences: all.length,
    imagesPerSecond: batch * perSecond,
    latencyMs: median(all),
    p95Ms: quantile(all, 0.95),
    checkedOutputs: took.length,
  };
}

export interface StreamOptions {
  readonly seed: number;
  /** Numbers of streams, ascending. */
  readonly streams: readonly number[];
  /** Latency of one inference of each arm, as it was timed. */
  readonly latencyMs: (arm: Arm) => number;
  readonly progress: (event: StreamProgress) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Measures every arm of a setting, the raw one left out, with each number of streams.
 * @throws Error in one line where a stream fails or gives other logits than the verified ones
 */
export async function measureStreams(
  setting: Setting,
  { seed, streams, latencyMs, progress, signal }: StreamOptions,
  childFile: URL = CHILD,
): Promise<Throughput[]> {
  const { model, size, engine, threads, pairs, expected } = setting;
  const arms = armsOf(pairs).filter((arm) => arm !== 'reference-raw');
  const spec = { model, size, seed, engine: engine.name, threads, arms, expected };
  const children = Array.from({ length: Math.max(...streams) }, () => forkChild(childFile, signal));
  try {
    for (const reply of await Promise.all(children.map((child) => ask(child, { kind: 'load', spec })))) {
      if (reply.kind === 'ready' && reply.info.device !== engine.device) {
        throw new Error(`it was verified on ${engine.device}, and ran on ${reply.info.device} with several streams`);
      }
    }
    const rows: Throughput[] = [];
    for (const arm of arms) {
      for (const count of streams) {
        progress({
          phase: 'streams',
          setting,
          arm,
          streams: count,
          done: rows.length,
          total: arms.length * streams.length,
        });
        const milliseconds = Math.max(WINDOW_MS, FEWEST_INFERENCES * latencyMs(arm));
        const request = { kind: 'infer', arm, milliseconds } as const;
        const replies = await Promise.all(children.slice(0, count).map((child) => ask(child, request)));
        const took = replies.map((reply) => (reply.kind === 'inferred' ? reply.took : []));
        rows.push({ ...keysOf(setting), arm, ...throughputOf(took, size.batch) });
      }
    }
    return rows;
  } finally {
    for (const { process: child } of children) child.kill('SIGKILL');
    await Promise.all(children.map(({ gone }) => gone));
  }
}
