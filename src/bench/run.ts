/** One benchmark run: verify, count, then time, one session after another. What was not verified is not timed. */
import { audit } from '../audit/audit.ts';
import type { Engine } from '../engines/engine.ts';
import { openAvailable } from '../engines/index.ts';
import { InputError } from '../network/errors.ts';
import { buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import type {
  AuditRow,
  Failure,
  Measurement,
  Report,
  Resolution,
  Skipped,
  Speedup,
  VerificationRow,
} from '../report/types.ts';
import { watchMachine } from './environment.ts';
import { hodgesLehmannInterval, median, quantile } from './estimate.ts';
import { forkSession } from './parent.ts';
import { type Arm, type ArmPair, type PreparedModel, pairsOf, prepareModel, type Role } from './prepare.ts';
import type { SessionProgress, SessionResult } from './session.ts';

/** Quads of a full session, and of a quick one: the fewest but two that an interval of 95 % can be made of. */
const QUADS = 24;
const QUICK_QUADS = 8;
/** Time for one pair of forms of one model on all engines; what a slow engine needs for the fewest quads comes on top. */
const SECONDS_PER_PAIR = 30;
const QUICK_SECONDS_PER_PAIR = 15;
/** The most that the fewest quads may take on an engine that is only here, and on one that was asked for by name. */
const LONGEST_MS = 60_000;
const LONGEST_NAMED_MS = 120_000;

const METHOD =
  'one session; exp of the Hodges-Lehmann median of ln(baseline / arm) over quads (ABBA or BAAB at random), with the distribution-free signed-rank interval';

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

/** For each engine, the logits of each form as it computed them when it was verified. */
type VerifiedLogits = ReadonlyMap<string, Readonly<Partial<Record<Arm, Float32Array>>>>;

/** What a verification hands to the timing. */
export interface VerifiedModel {
  /** One row for each deploy form on each engine. */
  readonly rows: readonly VerificationRow[];
  readonly logits: VerifiedLogits;
}

/** Verifies every deploy form of one network on every engine. */
export type VerifyModel = (
  prepared: PreparedModel,
  engines: readonly Engine[],
  onProgress: (form: Arm, done: number, total: number) => void,
) => Promise<VerifiedModel>;

/** What a run says while it goes on, never during a sample. */
export type BenchProgress =
  | {
      readonly phase: 'verify';
      readonly model: string;
      /** All that it is verified on, piece by piece. */
      readonly engines: readonly string[];
      readonly form: Arm;
      readonly done: number;
      readonly total: number;
    }
  | {
      readonly phase: 'time';
      readonly model: string;
      readonly engine: string;
      /** From 1. */
      readonly session: number;
      readonly sessions: number;
      readonly step: SessionProgress;
      /** From the time budget; slow engines may need longer. */
      readonly secondsLeft: number;
    };

export interface BenchDependencies {
  readonly verifyModel: VerifyModel;
  /** Runs one session in a process of its own. */
  readonly runSession?: typeof forkSession;
  /** A clock in milliseconds. */
  readonly now?: () => number;
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

const ROLES: readonly Role[] = ['baseline', 'arm'];

function measurement({ model, pair }: Session, size: InputSize, role: Role, result: SessionResult): Measurement {
  const samples = nonEmpty(result.samples[role]);
  return {
    model: model.name,
    engine: result.info.name,
    arm: pair[role],
    against: pair[role === 'arm' ? 'baseline' : 'arm'],
    threads: result.info.threads,
    batch: size.batch,
    resolution: resolutionOf(size),
    latencyMs: median(samples),
    minMs: Math.min(...samples),
    p05Ms: quantile(samples, 0.05),
    p95Ms: quantile(samples, 0.95),
    inferencesPerSample: result.inferencesPerSample[role],
    samplesMs: samples,
  };
}

function speedup({ model, pair }: Session, plannedQuads: number, result: SessionResult): Speedup {
  const logRatios = nonEmpty(result.logRatios);
  const { estimate, low, high, level } = hodgesLehmannInterval(logRatios);
  const notes = [
    ...(logRatios.length < plannedQuads
      ? [`${logRatios.length} of ${plannedQuads} quads, for the time is limited`]
      : []),
    ...(level < 0.95 ? [`so few quads give an interval of ${(100 * level).toFixed(0)} %, not 95 %`] : []),
    ...(result.settled ? [] : ['timing began before the warm-up had settled to 1 %']),
  ];
  return {
    model: model.name,
    engine: result.info.name,
    ...pair,
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

/** What is timed: two forms of a network on an engine. */
interface Place {
  readonly model: Model;
  readonly engine: Engine;
  readonly pair: ArmPair;
}

/** Both forms passed there: with the logits that every timed run must give. */
interface Session extends Place {
  readonly expected: Readonly<Record<Role, Float32Array>>;
}

interface Verified {
  readonly rows: VerificationRow[];
  readonly sessions: Session[];
  readonly failures: Failure[];
}

/** The tiers that kept a form from passing. */
function openTiers(row: VerificationRow | undefined): string {
  const tiers = row?.tiers.filter(({ verdict }) => verdict !== 'pass') ?? [];
  return tiers.map(({ tier, verdict }) => `${tier}: ${verdict}`).join(', ') || (row?.verdict ?? 'no verdict');
}

function failure({ model, engine, pair }: Place, stage: Failure['stage'], what: string): Failure {
  return {
    model: model.name,
    engine: engine.info.name,
    stage,
    message: `${pair.arm} against ${pair.baseline}: ${what}`,
  };
}

/** The session of a pair whose forms both passed, or why there is none. */
function sessionOf(place: Place, { rows, logits }: VerifiedModel): Session | Failure {
  const { engine, pair } = place;
  const { name } = engine.info;
  const [baseline, arm] = [logits.get(name)?.[pair.baseline], logits.get(name)?.[pair.arm]];
  const rowOf = (form: Arm) => rows.find((row) => row.engine === name && row.form === form);
  // The reference is one side of every deploy form's verification, that of the pair's own deploy form too.
  const unverified = ROLES.map((role) => pair[role]).filter(
    (form) => form !== 'reference' && rowOf(form)?.verdict !== 'pass',
  );
  if (unverified.length > 0) {
    const why = unverified.map((form) => `${form} is not verified (${openTiers(rowOf(form))})`).join(' and ');
    return failure(place, 'verification', `not timed, for ${why}`);
  }
  if (baseline === undefined || arm === undefined) {
    return failure(place, 'verification', 'not timed, for the verification gave no logits');
  }
  return { ...place, expected: { baseline, arm } };
}

async function verifyAll(
  options: BenchOptions,
  engines: readonly Engine[],
  verifyModel: VerifyModel,
  progress: (event: BenchProgress) => void,
): Promise<Verified> {
  const verified: Verified = { rows: [], sessions: [], failures: [] };
  for (const model of options.models) {
    const names = engines.map(({ info }) => info.name);
    const onProgress = (form: Arm, done: number, total: number) =>
      progress({ phase: 'verify', model: model.name, engines: names, form, done, total });
    onProgress('reference', 0, 1);
    const prepared = prepareModel({ model, size: inputSize(options, model), seed: options.seed });
    const result = await verifyModel(prepared, engines, onProgress);
    verified.rows.push(...result.rows);
    for (const engine of engines) {
      for (const pair of pairsOf(prepared.deployForms)) {
        const session = sessionOf({ model, engine, pair }, result);
        if ('expected' in session) verified.sessions.push(session);
        else verified.failures.push(session);
      }
    }
  }
  return verified;
}

interface Timed {
  readonly measurements: Measurement[];
  readonly speedups: Speedup[];
  readonly skipped: Skipped[];
  readonly failures: Failure[];
  readonly results: SessionResult[];
}

/**
 * Sessions one after another, each with an equal share of the time that is left. What a session does not need is left to
 * those after it; what a slow one takes beyond its share is taken from none.
 */
async function timeAll(
  options: BenchOptions,
  sessions: readonly Session[],
  { runSession = forkSession, now = () => performance.now() }: BenchDependencies,
  progress: (event: BenchProgress) => void,
): Promise<Timed> {
  const quads = options.quick ? QUICK_QUADS : QUADS;
  const pairs = new Set(sessions.map(({ model, pair }) => `${model.name}/${pair.baseline}`)).size;
  const seconds = pairs * (options.quick ? QUICK_SECONDS_PER_PAIR : SECONDS_PER_PAIR);
  const { seed, threads } = options;
  const longestMs = options.engines === undefined ? LONGEST_MS : LONGEST_NAMED_MS;
  let poolMs = 1000 * seconds;
  const timed: Timed = { measurements: [], speedups: [], skipped: [], failures: [], results: [] };
  for (const [index, session] of sessions.entries()) {
    const { model, engine, pair, expected } = session;
    const { name, device } = engine.info;
    const size = inputSize(options, model);
    const budgetMs = poolMs / (sessions.length - index);
    const start = now();
    const left = () => poolMs - Math.min(budgetMs, now() - start);
    const place = { model: model.name, engine: name, session: index + 1, sessions: sessions.length };
    const fail = (what: string) => timed.failures.push(failure(session, 'timing', what));
    try {
      const spec = { model, size, seed, pair, engine: name, threads, quads, budgetMs, longestMs, expected };
      const result = await runSession(spec, (step) =>
        progress({ phase: 'time', ...place, step, secondsLeft: left() / 1000 }),
      );
      if (result.kind === 'too slow') {
        const advice = options.engines === undefined ? `; --engine ${name} allows ${LONGEST_NAMED_MS / 1000} s` : '';
        timed.skipped.push({ model: model.name, engine: name, ...pair, reason: `${result.reason}${advice}` });
        continue;
      }
      if (result.info.device !== device) {
        throw new Error(`it was verified on ${device}, and ran on ${result.info.device} when timed`);
      }
      for (const role of ROLES) timed.measurements.push(measurement(session, size, role, result));
      timed.speedups.push(speedup(session, quads, result));
      timed.results.push(result);
      if (result.tensorsLeaked) fail(`${result.tensorsLeaked} tensors were left behind`);
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    } finally {
      poolMs = left();
    }
  }
  return timed;
}

/** A run that timed nothing is no pass, though nothing failed. */
function verdictOf(
  { rows, failures: unverified }: Verified,
  { failures, speedups }: Omit<Timed, 'results'>,
): Report['verdict'] {
  if (failures.length > 0 || rows.some(({ verdict }) => verdict === 'fail')) return 'fail';
  return unverified.length === 0 && speedups.length > 0 ? 'pass' : 'inconclusive';
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
  dependencies: BenchDependencies,
): Promise<Report> {
  // Bad input is found before anything takes time.
  for (const model of options.models) buildNetwork(model.config, inputSize(options, model), model.name);
  const readMachine = await watchMachine();
  const { engines, absent } = await openEngines(options);
  const verified = await verifyAll(options, engines, dependencies.verifyModel, progress);
  const { results, ...timed } = await timeAll(options, verified.sessions, dependencies, progress);
  const leaks = results.flatMap(({ tensorsLeaked }) => tensorsLeaked ?? []);
  return {
    schemaVersion: 1,
    verdict: verdictOf(verified, timed),
    ...timed,
    audit: auditRows(options),
    verification: verified.rows,
    failures: [...verified.failures, ...timed.failures],
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
