import { availableParallelism, totalmem } from 'node:os';
import type { WeightsFile } from '../certify/checkpoint.ts';
import type { Engine } from '../engines/engine.ts';
import type { Model } from '../reference/config.ts';
import type { Tier, Verification } from '../verify/verify.ts';
import type { Subject, SubjectOptions } from './subject.ts';

/** What a user may say about a verification of one deploy form. */
export interface VerifyOptions extends SubjectOptions {
  readonly threads?: number;
  /** Fused checkpoint: the deploy weights as stored. */
  readonly deploy?: string;
  /** Only the region that this deploy node replaces. */
  readonly region?: string;
}

/** One deploy form of one network, as plain data: it may be sent to another process. */
export interface Job {
  readonly model: Model;
  /** Of the network: how much work it is. */
  readonly weightCount: number;
  /** Name of the deploy form. */
  readonly form: string;
  /** Names of engines that are here. */
  readonly engines: readonly string[];
  /** All where undefined. */
  readonly tiers: readonly Tier[] | undefined;
  readonly options: VerifyOptions;
}

/** One deploy form's verification, as `--json` prints it. */
export interface ModelReport extends Omit<Verification, 'logits'> {
  readonly seconds: number;
  /** Of the process that verified it, so far. */
  readonly peakMemoryBytes: number;
  readonly seed: number;
  /** Of the input, [N, C, H, W]. */
  readonly input: readonly number[];
  /** Files that weights are from; none where they were generated and fused here. */
  readonly files: { readonly weights?: WeightsFile; readonly deploy?: WeightsFile };
}

export interface Tell {
  readonly progress: (done: number, total: number, what: string) => void;
  readonly note: (line: string) => void;
}

export type RunJob = (job: Job, tell: Tell) => Promise<ModelReport>;

/** Runs jobs in this process, one after another. Engines stay open, and a network's weights are kept for its next form. */
export function jobRunner(): RunJob {
  const engines = new Map<string, Promise<Engine>>();
  let last: { readonly model: Model; readonly subject: Subject } | undefined;
  return async ({ model, form: name, engines: names, tiers, options }, tell) => {
    const started = performance.now();
    const [{ openEngine }, { fuseTo }, { buildMiniature }, { toFloat32 }, { verify }, { randomInput }, subjects] =
      await Promise.all([
        import('../engines/index.ts'),
        import('../fused/forms.ts'),
        import('../reference/config.ts'),
        import('../network/tensor.ts'),
        import('../verify/verify.ts'),
        import('../weights/random.ts'),
        import('./subject.ts'),
      ]);
    for (const engine of names) {
      if (engines.has(engine)) continue;
      engines.set(engine, openEngine(engine, { ...(options.threads && { threads: options.threads }) }));
    }
    if (last?.model.name !== model.name) {
      // The old weights are let go before new ones are read.
      last = undefined;
      last = { model, subject: await subjects.loadSubject(model, options) };
    }
    const { reference, weights, source, input, seed } = last.subject;
    const form = subjects.chosenForms(reference, name)[0]!;
    const fusion = fuseTo(form, reference);
    const { deploy, region } = options;
    const stored =
      deploy === undefined ? undefined : await subjects.loadDeployWeights(last.subject, fusion, form.name, deploy);
    const files = { ...(source && { weights: source }), ...(stored && { deploy: stored.source }) };
    const { logits: _, ...verification } = await verify({
      fusion,
      form: name,
      weights,
      input: toFloat32(input),
      engines: await Promise.all(names.map((engine) => engines.get(engine)!)),
      miniature: fuseTo(form, buildMiniature(model.config)),
      seed,
      probe: (shape, probeName) => randomInput(shape, seed, probeName),
      onProgress: tell.progress,
      ...(tiers && { tiers }),
      ...(stored && { deployWeights: stored.weights }),
      ...(region && { only: region }),
    });
    const seconds = (performance.now() - started) / 1000;
    const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
    return { ...verification, seconds, peakMemoryBytes, seed, input: input.shape, files };
  };
}

/** Memory that verifying takes: measured for repmlpnet_l256, 3.3 GiB for 118 million weights. */
const BYTES_PER_WEIGHT = 28;
/** And without any. */
const BYTES_PER_PROCESS = 0.4 * 2 ** 30;
/** Of the machine's memory. */
const SHARE_OF_MEMORY = 0.7;

/** How many processes jobs are worth, on this machine: as many as there are cores, where memory allows. */
export function processesFor(jobs: readonly Job[]): number {
  const bytes = BYTES_PER_PROCESS + BYTES_PER_WEIGHT * Math.max(...jobs.map(({ weightCount }) => weightCount));
  const inMemory = Math.floor((SHARE_OF_MEMORY * totalmem()) / bytes);
  return Math.max(1, Math.min(jobs.length, availableParallelism(), inMemory));
}
