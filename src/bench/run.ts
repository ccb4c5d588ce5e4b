/** One benchmark run: verify, count, then time, one session after another. What was not verified is not timed. */
import { createHash } from 'node:crypto';
import { accuraciesOf, audit, type Fit } from '../audit/audit.ts';
import { figureValue } from '../audit/published.ts';
import type { Engine } from '../engines/engine.ts';
import type { AbsentEngine } from '../engines/index.ts';
import { buildNetwork } from '../reference/config.ts';
import type {
  EngineRow,
  Failure,
  FigureRow,
  NetworkRow,
  Profile,
  Report,
  Skipped,
  Throughput,
  VerificationRow,
} from '../report/types.ts';
import { watchMachine } from './environment.ts';
import {
  type ForkedVerification,
  forkedVerification,
  type RunProfile,
  type RunSession,
  runProfile,
  runSession,
} from './parent.ts';
import { type Arm, armsOf, isNull, type ModelSpec, type PreparedModel, prepareModel } from './prepare.ts';
import { LOOKS, NARROW } from './replicates.ts';
import { latencyOf, profileRow, rowsOf } from './rows.ts';
import { type Plan, type Timed, type TimingProgress, timeAll } from './schedule.ts';
import { SAMPLE_MS } from './session.ts';
import {
  type BenchOptions,
  enginesOf,
  failure,
  inputSize,
  keysOf,
  type OpenedEngine,
  openEngines,
  resolutionOf,
  type Setting,
  settingOf,
  type VerifiedModel,
  verifiedTogether,
} from './settings.ts';
import { measureStreams, type StreamProgress } from './streams.ts';

/** Quads of each pair in a full session, and in one of a quick run. */
const QUADS = 24;
const QUICK_QUADS = 8;
/** Time for all sessions, for each setting: what one does not need goes to the others. */
const SECONDS = 60;
const QUICK_SECONDS = 30;
/** The most that the fewest sessions may take on an engine that is only here, and on one that was asked for by name. */
const LONGEST_MS = 60_000;
const LONGEST_NAMED_MS = 600_000;

/** Verifies every deploy form of one network on every engine. */
export type VerifyModel = (
  prepared: PreparedModel,
  engines: readonly Engine[],
  onProgress: (form: Arm, done: number, total: number) => void,
) => Promise<VerifiedModel>;

/** What a run says while it goes on, never during a sample. */
export type BenchProgress =
  | TimingProgress
  | StreamProgress
  | { readonly phase: 'profile'; readonly setting: Setting; readonly arm: Arm }
  | {
      readonly phase: 'verify';
      readonly model: string;
      /** All that it is verified on, piece by piece. */
      readonly engines: readonly string[];
      readonly form: Arm;
      readonly done: number;
      readonly total: number;
    };

export interface BenchDependencies {
  readonly verifyModel: VerifyModel;
  /** Verifies on engines that only a process of their own can have. */
  readonly forked?: ForkedVerification;
  /** Runs one session in a process of its own. */
  readonly runSession?: RunSession;
  /** Profiles one arm in a process of its own. */
  readonly runProfile?: RunProfile;
  /** Measures a setting's throughput, each stream in a process of its own. */
  readonly measureStreams?: typeof measureStreams;
  /** A clock in milliseconds. */
  readonly now?: () => number;
  /** Ends the run: what is complete is reported, marked partial. */
  readonly signal?: AbortSignal;
}

function planOf({ quick, engines }: BenchOptions, settings: number): Plan {
  return {
    quads: quick ? QUICK_QUADS : QUADS,
    seconds: Math.max(1, settings) * (quick ? QUICK_SECONDS : SECONDS),
    longestMs: engines === undefined ? LONGEST_MS : LONGEST_NAMED_MS,
  };
}

/** The audit is of square inputs: of the size asked for where that is square, else of the model's own. */
function auditPart(options: BenchOptions): Required<Pick<Report, 'audit' | 'figures' | 'accuracies'>> {
  const { size } = options;
  const square = size !== undefined && size.height === size.width ? size.height : undefined;
  const models = options.models.map((model) => ({ ...model, resolution: square ?? model.resolution }));
  const { rows, figures } = audit(models);
  const countOf = ({ title, counting, count }: Fit) => ({ form: title, counting, count });
  return {
    audit: rows.map((row) => ({ ...row, published: [...row.published] })),
    figures: figures.map((figure): FigureRow => {
      const { model, source, kind, printed, unit, assumedTitle: assumed, assumedCount, fits, nearest } = figure;
      const beside = { assumed, assumedCount, fits: fits.map(countOf), nearest: countOf(nearest) };
      return { model, source, kind, printed, unit, value: figureValue(figure), ...beside };
    }),
    accuracies: [...accuraciesOf(options.models)],
  };
}

interface Verified {
  readonly rows: VerificationRow[];
  readonly networks: NetworkRow[];
  readonly settings: Setting[];
  readonly failures: Failure[];
}

/** SHA-256 over the tensors in the order of their keys; little-endian, as typed arrays are on every machine with an engine. */
function hashOf({ weights }: PreparedModel['reference']): string {
  const hash = createHash('sha256');
  for (const key of [...weights.keys()].sort()) {
    const { data } = weights.get(key)!;
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

const NOTHING_VERIFIED: VerifiedModel = { rows: [], logits: new Map() };

/** Engines of this process together, or the one of another process. */
async function verifyGroup(
  identity: ModelSpec,
  prepared: PreparedModel,
  group: readonly OpenedEngine[],
  { verifyModel, forked = forkedVerification, signal }: BenchDependencies,
  onProgress: (form: Arm, done: number, total: number) => void,
): Promise<VerifiedModel> {
  const elsewhere = group.find(({ here }) => here === undefined);
  if (elsewhere === undefined) {
    const engines = group.flatMap(({ here }) => (here === undefined ? [] : enginesOf(here)));
    return verifyModel(prepared, engines, onProgress);
  }
  const { optimised, threads } = elsewhere;
  const spec = { ...identity, engine: optimised.name, threads };
  const onForked: Parameters<typeof forked.verify>[1] = ({ form, done, total }) => {
    if (!signal?.aborted) onProgress(form, done, total); // which throws then, and this is called on a message
  };
  return forked.verify(spec, onForked, signal);
}

async function verifyAll(
  options: BenchOptions,
  opened: readonly OpenedEngine[],
  dependencies: BenchDependencies,
  progress: (event: BenchProgress) => void,
): Promise<Verified> {
  const { signal } = dependencies;
  const verified: Verified = { rows: [], networks: [], settings: [], failures: [] };
  for (const model of options.models) {
    for (const [nth, batch] of options.batches.entries()) {
      const size = inputSize(batch, options, model);
      let prepared: PreparedModel | undefined;
      for (const group of verifiedTogether(opened)) {
        if (signal?.aborted) return verified;
        const infos = group.flatMap(({ optimised, raw }) => (raw === undefined ? [optimised] : [optimised, raw]));
        const names = infos.map(({ name }) => name);
        const onProgress = (form: Arm, done: number, total: number) => {
          progress({ phase: 'verify', model: model.name, engines: names, form, done, total });
          signal?.throwIfAborted();
        };
        progress({ phase: 'verify', model: model.name, engines: names, form: 'reference', done: 0, total: 1 });
        const identity = { model, size, seed: options.seed };
        prepared ??= prepareModel(identity);
        const result = await verifyGroup(identity, prepared, group, dependencies, onProgress).catch(
          (error: unknown) => {
            if (signal?.aborted) return undefined;
            // What becomes of another process does not end this one.
            const [own] = group;
            if (own === undefined || own.here !== undefined) throw error;
            const message = error instanceof Error ? error.message : String(error);
            verified.failures.push(failure({ model, engine: own.optimised }, 'verification', message));
            return NOTHING_VERIFIED;
          },
        );
        if (result === undefined) return verified;
        const threadsOf = new Map(infos.map(({ name, threads }) => [name, threads]));
        verified.rows.push(...result.rows.map((row) => ({ ...row, threads: threadsOf.get(row.engine) ?? 1, batch })));
        for (const engine of result === NOTHING_VERIFIED ? [] : group) {
          const { setting, failures } = settingOf({ model, size }, engine, prepared.deployForms, result);
          verified.failures.push(...failures);
          if (setting.pairs.some((pair) => !isNull(pair))) verified.settings.push(setting);
        }
      }
      if (nth === 0 && prepared !== undefined) verified.networks.push(networkRow(prepared, size));
    }
  }
  return verified;
}

function networkRow(prepared: PreparedModel, size: ReturnType<typeof inputSize>): NetworkRow {
  const { network } = prepared.reference;
  const output = network.nodes.find(({ name }) => name === network.output)!;
  return {
    model: prepared.name,
    resolution: resolutionOf(size),
    classes: output.shape[1] ?? 1,
    weightsSha256: hashOf(prepared.reference),
  };
}

/** What is measured of a setting beside its latency, where that is asked for. */
interface Extras {
  readonly throughput: Throughput[];
  readonly profiles: Profile[];
  readonly failures: Failure[];
  readonly skipped: Skipped[];
}

async function measureExtras(
  { settings }: Timed,
  { streams, profile, seed }: BenchOptions,
  { signal, runProfile: profileArm = runProfile, measureStreams: measure = measureStreams }: BenchDependencies,
  progress: (event: BenchProgress) => void,
): Promise<Extras> {
  const extras: Extras = { throughput: [], profiles: [], failures: [], skipped: [] };
  for (const timed of settings) {
    const { setting } = timed;
    const attempt = async (stage: 'throughput' | 'profile', work: () => Promise<void>) => {
      if (signal?.aborted) return;
      await work().catch((error: unknown) => {
        if (signal?.aborted) return;
        extras.failures.push(failure(setting, stage, error instanceof Error ? error.message : String(error)));
      });
    };
    if (streams.length > 0) {
      const latencyMs = (arm: Arm) => latencyOf(timed, arm);
      const options = { seed, streams, latencyMs, progress, signal };
      await attempt('throughput', async () => {
        extras.throughput.push(...(await measure(setting, options)));
      });
    }
    // Where the time goes with the engine's own work undone is nobody's question.
    for (const arm of profile ? armsOf(setting.pairs).filter((each) => each !== 'reference-raw') : []) {
      await attempt('profile', async () => {
        progress({ phase: 'profile', setting, arm });
        const { model, size, engine, threads } = setting;
        const result = await profileArm({ model, size, seed, engine: engine.name, threads, arm }, signal);
        if (result.kind === 'profiled') extras.profiles.push(profileRow(setting, arm, result));
        else if (arm === 'deploy') {
          const { resolution: _, ...keys } = keysOf(setting);
          extras.skipped.push({ ...keys, stage: 'profile', reason: result.reason });
        }
      });
    }
  }
  return extras;
}

/** A run that timed nothing, or not all, is no pass, though nothing failed. */
function verdictOf(
  { rows, failures: unverified }: Verified,
  { failures, settings }: Timed,
  extras: Extras,
  isPartial: boolean,
): Report['verdict'] {
  if (failures.length + extras.failures.length > 0 || rows.some(({ verdict }) => verdict === 'fail')) return 'fail';
  return unverified.length === 0 && settings.length > 0 && !isPartial ? 'pass' : 'inconclusive';
}

function engineRow({ optimised }: OpenedEngine): EngineRow {
  const { name, version, device, threads, optimisation = 'none', software = false } = optimised;
  return { name, version, device, threads, optimisation, software };
}

function absentRow({ name, reason, fix }: AbsentEngine) {
  return { name, reason, fix };
}

/**
 * Verifies every model on every engine, then times what passed. A session that fails is a failure in the report; it
 * stops no other setting.
 * @throws InputError where a size does not fit a model, or no engine is here
 */
export async function runBench(
  options: BenchOptions,
  progress: (event: BenchProgress) => void,
  dependencies: BenchDependencies,
): Promise<Report> {
  // Bad input is found before anything takes time.
  for (const model of options.models) {
    for (const batch of options.batches) buildNetwork(model.config, inputSize(batch, options, model), model.name);
  }
  const { now = () => performance.now(), signal } = dependencies;
  const readMachine = await watchMachine();
  const { opened, absent } = await openEngines(options, (dependencies.forked ?? forkedVerification).describe);
  const verified = await verifyAll(options, opened, dependencies, progress);
  const plan = planOf(options, verified.settings.length);
  const advice = ({ engine }: Setting) =>
    options.engines === undefined ? `; --engine ${engine.name} allows ${LONGEST_NAMED_MS / 1000} s` : '';
  const schedule = {
    seed: options.seed,
    advice,
    runSession: dependencies.runSession ?? runSession,
    now,
    signal,
    progress,
  };
  const timed = await timeAll(verified.settings, plan, schedule);
  const extras = await measureExtras(timed, options, dependencies, progress);
  const partial = signal?.aborted === true;
  const results = timed.settings.flatMap((each) => each.results);
  const leaks = results.flatMap(({ tensorsLeaked }) => tensorsLeaked ?? []);
  const [firstLook = 1, ...looks] = LOOKS;
  return {
    schemaVersion: 2,
    verdict: verdictOf(verified, timed, extras, partial),
    partial,
    ...rowsOf(timed.settings, plan.quads),
    throughput: extras.throughput,
    profiles: extras.profiles,
    networks: verified.networks,
    skipped: [...timed.skipped, ...extras.skipped],
    ...auditPart(options),
    verification: verified.rows,
    failures: [...verified.failures, ...timed.failures, ...extras.failures],
    environment: {
      ...(await readMachine()),
      quick: options.quick,
      seed: options.seed,
      plan: {
        looks: [firstLook, ...looks],
        halfWidth: NARROW,
        quads: plan.quads,
        sampleMs: SAMPLE_MS,
        seconds: plan.seconds,
      },
      peakRssBytes: results.length === 0 ? null : Math.max(...results.map(({ peakRssBytes }) => peakRssBytes)),
      tensorsLeaked: leaks.length === 0 ? null : leaks.reduce((sum, leaked) => sum + leaked, 0),
      engines: opened.map(engineRow),
      absent: absent.map(absentRow),
    },
  };
}
