/** One benchmark run: verify, count, then time, one session after another. What was not verified is not timed. */
import { audit } from '../audit/audit.ts';
import type { Engine } from '../engines/engine.ts';
import { openAvailable } from '../engines/index.ts';
import { InputError } from '../network/errors.ts';
import { buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/repvit.ts';
import type { AuditRow, Failure, Measurement, Report, Resolution, Speedup, VerificationRow } from '../report/types.ts';
import { watchMachine } from './environment.ts';
import { hodgesLehmannInterval, median, quantile } from './estimate.ts';
import { forkSession } from './parent.ts';
import { type Arm, type PreparedModel, prepareModel } from './prepare.ts';
import type { SessionProgress, SessionResult } from './session.ts';

/** Quads of a full session, and of a quick one: the fewest but two that an interval of 95 % can be made of. */
const QUADS = 24;
const QUICK_QUADS = 8;
/** Time for the sessions of one model on all engines: two models and their verification stay within three minutes. */
const SECONDS_PER_MODEL = 45;
const QUICK_SECONDS_PER_MODEL = 15;

const METHOD =
  'one session; exp of the Hodges-Lehmann median of ln(reference / deploy) over quads (ABBA or BAAB at random), with the distribution-free signed-rank interval';

export interface BenchOptions {
  readonly models: readonly Model[];
  /** Names of engines; undefined is every one that is here. */
  readonly engines: readonly string[] | undefined;
  /** Threads for the engines that can be told; undefined is each engine's default. */
  readonly threads: number | undefined;
  readonly batch: number;
  /** Input size in pixels; each model's own resolution where undefined. */
  readonly size: { readonly height: number; readonly width: number } | undefined;
  readonly seed: number;
  /** Fewer quads in less time. */
  readonly quick: boolean;
}

/** What a verification hands to the timing. */
export interface VerifiedModel {
  /** One row for each engine. */
  readonly rows: readonly VerificationRow[];
  /** For each engine whose row passed, the logits of both forms that were verified. */
  readonly logits: ReadonlyMap<string, Readonly<Record<Arm, Float32Array>>>;
}

/** Verifies one network on every engine. */
export type VerifyModel = (
  prepared: PreparedModel,
  engines: readonly Engine[],
  onProgress: (done: number, total: number) => void,
) => Promise<VerifiedModel>;

/** What a run says while it goes on, never during a sample. */
export type BenchProgress =
  | { readonly phase: 'verify'; readonly model: string; readonly done: number; readonly total: number }
  | {
      readonly phase: 'time';
      readonly model: string;
      readonly engine: string;
      /** From 1. */
      readonly session: number;
      readonly sessions: number;
      readonly step: SessionProgress;
      /** Upper estimate, from the time budget. */
      readonly secondsLeft: number;
    };

export interface BenchDependencies {
  readonly verifyModel: VerifyModel;
  /** Runs one session in a process of its own. */
  readonly runSession?: typeof forkSession;
}

function inputSize({ batch, size }: BenchOptions, { resolution }: Model): InputSize {
  return { batch, ...(size ?? { height: resolution, width: resolution }) };
}

function resolutionOf({ height, width }: InputSize): Resolution {
  return height === width ? height : [height, width];
}

/** The audit is of square inputs: of the size asked for where that is square, else of the model's own. */
function auditRows(options: BenchOptions): AuditRow[] {
  const { size } = options;
  const square = size !== undefined && size.height === size.width ? size.height : undefined;
  const models = options.models.map((model) => ({ ...model, resolution: square ?? model.resolution }));
  return audit(models).rows.map((row) => ({ ...row, published: [...row.published] }));
}

function nonEmpty(values: readonly number[]): [number, ...number[]] {
  const [first, ...rest] = values;
  if (first === undefined) throw new Error('a session gave no samples');
  return [first, ...rest];
}

function measurement(model: string, size: InputSize, arm: Arm, result: SessionResult): Measurement {
  const samples = nonEmpty(result.samples[arm]);
  return {
    model,
    engine: result.info.name,
    arm,
    threads: result.info.threads,
    batch: size.batch,
    resolution: resolutionOf(size),
    latencyMs: median(samples),
    minMs: Math.min(...samples),
    p05Ms: quantile(samples, 0.05),
    p95Ms: quantile(samples, 0.95),
    inferencesPerSample: result.inferencesPerSample[arm],
    samplesMs: samples,
  };
}

function speedup(model: string, plannedQuads: number, result: SessionResult): Speedup {
  const logRatios = nonEmpty(result.logRatios);
  const { estimate, low, high, level } = hodgesLehmannInterval(logRatios);
  const notes = [
    ...(logRatios.length < plannedQuads
      ? [`${logRatios.length} of ${plannedQuads} quads, for the engine is slow and the time limited`]
      : []),
    ...(level < 0.95 ? [`so few quads give an interval of ${(100 * level).toFixed(0)} %, not 95 %`] : []),
    ...(result.settled ? [] : ['timing began before the warm-up had settled to 1 %']),
  ];
  return {
    model,
    engine: result.info.name,
    estimate: Math.exp(estimate),
    low: Math.exp(low),
    high: Math.exp(high),
    confidence: level,
    quads: logRatios.length,
    plannedQuads,
    checkedOutputs: result.checked,
    method: METHOD,
    note: notes.join('; '),
    logRatios,
  };
}

/** A network on an engine that passed, and the logits that every timed run must give. */
interface Session {
  readonly model: Model;
  readonly engine: Engine;
  readonly expected: Readonly<Record<Arm, Float32Array>>;
}

interface Verified {
  readonly rows: VerificationRow[];
  readonly sessions: Session[];
  readonly failures: Failure[];
}

/** Why an engine is not timed: the tiers that did not pass. */
function unverified(row: VerificationRow | undefined): string {
  const tiers = row?.tiers.filter(({ verdict }) => verdict !== 'pass') ?? [];
  const why = tiers.map(({ tier, verdict }) => `${tier}: ${verdict}`).join(', ');
  return `not timed, for it is not verified (${why || (row?.verdict ?? 'no verdict')})`;
}

async function verifyAll(
  options: BenchOptions,
  engines: readonly Engine[],
  verifyModel: VerifyModel,
  progress: (event: BenchProgress) => void,
): Promise<Verified> {
  const verified: Verified = { rows: [], sessions: [], failures: [] };
  for (const model of options.models) {
    const onProgress = (done: number, total: number) => progress({ phase: 'verify', model: model.name, done, total });
    onProgress(0, 1);
    const prepared = prepareModel({ model, size: inputSize(options, model), seed: options.seed });
    const { rows, logits } = await verifyModel(prepared, engines, onProgress);
    verified.rows.push(...rows);
    for (const engine of engines) {
      const { name } = engine.info;
      const row = rows.find((candidate) => candidate.engine === name);
      const expected = logits.get(name);
      if (row?.verdict === 'pass' && expected !== undefined) verified.sessions.push({ model, engine, expected });
      else {
        verified.failures.push({ model: model.name, engine: name, stage: 'verification', message: unverified(row) });
      }
    }
  }
  return verified;
}

interface Timed {
  readonly measurements: Measurement[];
  readonly speedups: Speedup[];
  readonly failures: Failure[];
  readonly results: SessionResult[];
}

/** Sessions one after another, each with an equal share of the time that is left. */
async function timeAll(
  options: BenchOptions,
  sessions: readonly Session[],
  runSession: typeof forkSession,
  progress: (event: BenchProgress) => void,
): Promise<Timed> {
  const quads = options.quick ? QUICK_QUADS : QUADS;
  const seconds = (options.quick ? QUICK_SECONDS_PER_MODEL : SECONDS_PER_MODEL) * options.models.length;
  const deadline = performance.now() + 1000 * seconds;
  const timed: Timed = { measurements: [], speedups: [], failures: [], results: [] };
  for (const [index, { model, engine, expected }] of sessions.entries()) {
    const { name, device } = engine.info;
    const size = inputSize(options, model);
    const { seed, threads } = options;
    const left = () => Math.max(0, deadline - performance.now());
    const budgetMs = left() / (sessions.length - index);
    const place = { model: model.name, engine: name, session: index + 1, sessions: sessions.length };
    const fail = (message: string) =>
      timed.failures.push({ model: model.name, engine: name, stage: 'timing', message });
    try {
      const result = await runSession({ model, size, seed, engine: name, threads, quads, budgetMs, expected }, (step) =>
        progress({ phase: 'time', ...place, step, secondsLeft: left() / 1000 }),
      );
      if (result.info.device !== device) {
        throw new Error(`it was verified on ${device}, and ran on ${result.info.device} when timed`);
      }
      for (const arm of ['reference', 'deploy'] as const) {
        timed.measurements.push(measurement(model.name, size, arm, result));
      }
      timed.speedups.push(speedup(model.name, quads, result));
      timed.results.push(result);
      if (result.tensorsLeaked) fail(`${result.tensorsLeaked} tensors were left behind`);
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  }
  return timed;
}

function verdictOf(rows: readonly VerificationRow[], failures: readonly Failure[]): Report['verdict'] {
  const failed = failures.some(({ stage }) => stage === 'timing') || rows.some(({ verdict }) => verdict === 'fail');
  if (failed) return 'fail';
  return failures.length === 0 ? 'pass' : 'inconclusive';
}

async function openEngines({ engines: names, threads }: BenchOptions): ReturnType<typeof openAvailable> {
  const opened = await openAvailable(names, threads === undefined ? {} : { threads });
  if (opened.engines.length === 0) {
    const reasons = opened.absent.map(({ name, reason, fix }) => `${name}: ${reason}; ${fix}`);
    throw new InputError(`no engine is here, and at least one is needed. ${reasons.join('. ')}`);
  }
  return opened;
}

/**
 * Verifies every model on every engine, then times what passed. A session that fails is a failure in the report; it
 * stops no other.
 * @throws InputError where a size does not fit a model, or no engine is here
 */
export async function runBench(
  options: BenchOptions,
  progress: (event: BenchProgress) => void,
  { verifyModel, runSession = forkSession }: BenchDependencies,
): Promise<Report> {
  // Bad input is found before anything takes time.
  for (const model of options.models) buildNetwork(model.config, inputSize(options, model), model.name);
  const readMachine = await watchMachine();
  const { engines, absent } = await openEngines(options);
  const { rows, sessions, failures: unverifiedModels } = await verifyAll(options, engines, verifyModel, progress);
  const {
    measurements,
    speedups,
    failures: failedTimings,
    results,
  } = await timeAll(options, sessions, runSession, progress);

  const failures = [...unverifiedModels, ...failedTimings];
  const leaks = results.flatMap(({ tensorsLeaked }) => tensorsLeaked ?? []);
  return {
    schemaVersion: 1,
    verdict: verdictOf(rows, failures),
    measurements,
    speedups,
    audit: auditRows(options),
    verification: rows,
    failures,
    environment: {
      ...(await readMachine()),
      quick: options.quick,
      seed: options.seed,
      peakRssBytes: results.length === 0 ? null : Math.max(...results.map(({ peakRssBytes }) => peakRssBytes)),
      tensorsLeaked: leaks.length === 0 ? null : leaks.reduce((sum, leaked) => sum + leaked, 0),
      engines: engines.map(({ info: { name, version, device, threads } }) => ({ name, version, device, threads })),
      absent: absent.map(({ name, reason, fix }) => ({ name, reason, fix })),
    },
  };
}
