/** What a stream's process and its parent say to each other, and what a stream is: one inference after another. */
import type { Arm, ModelSpec } from './prepare.ts';

export interface StreamSpec extends ModelSpec {
  readonly engine: string;
  readonly threads: number | undefined;
  readonly arms: readonly Arm[];
  /** The logits that were verified for this engine: the last inference of every window must give these bits. */
  readonly expected: Readonly<Partial<Record<Arm, Float32Array>>>;
}

export type StreamRequest =
  | { readonly kind: 'load'; readonly spec: StreamSpec }
  | { readonly kind: 'infer'; readonly arm: Arm; readonly milliseconds: number };

export type StreamReply =
  | { readonly kind: 'ready'; readonly info: { readonly device: string; readonly threads: number } }
  /** Milliseconds of each inference. */
  | { readonly kind: 'inferred'; readonly took: readonly number[] }
  | { readonly kind: 'error'; readonly message: string };

/**
 * Infers until the time is up, at least once; an inference that has begun is ended and counted.
 * @param run gives the logits
 * @param now a clock in milliseconds
 */
export async function inferFor(
  run: () => Promise<Float32Array>,
  milliseconds: number,
  now: () => number = () => performance.now(),
): Promise<{ took: readonly number[]; last: Float32Array }> {
  const took: number[] = [];
  const start = now();
  let before = start;
  let last: Float32Array;
  do {
    last = await run();
    const after = now();
    took.push(after - before);
    before = after;
  } while (before - start < milliseconds);
  return { took, last };
}
