/** What a run times: each network in each setting that it was verified in. */
import type { Engine, EngineInfo, TakenInProcess } from '../engines/engine.ts';
import { type AbsentEngine, engineNames, openAvailable, openEngine } from '../engines/index.ts';
import { InputError } from '../network/errors.ts';
import type { Model } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import type { Failure, Resolution, VerificationRow } from '../report/types.ts';
import { type Arm, type ArmPair, armsOf, type PreparedModel, pairsOf, type Role } from './prepare.ts';
import type { Engines } from './session.ts';

export interface BenchOptions {
  readonly models: readonly Model[];
  /** Names of engines; undefined is every one that is here. */
  readonly engines: readonly string[] | undefined;
  /** Numbers of threads, for the engines that can be told. */
  readonly threads: readonly number[];
  /** Numbers of images in one inference. */
  readonly batches: readonly number[];
  /** Input size in pixels; each model's own resolution where undefined. */
  readonly size: { readonly height: number; readonly width: number } | undefined;
  readonly seed: number;
  /** Less time. */
  readonly quick: boolean;
  /** Numbers of concurrent streams to measure throughput with; none where empty. */
  readonly streams: readonly number[];
  /** Whether to say where the time of each arm goes. */
  readonly profile: boolean;
}

/** What an engine says of itself, as its users run it and, where it optimises by itself, with that off. */
export interface EngineInfos {
  readonly optimised: EngineInfo;
  readonly raw?: EngineInfo;
}

/** An engine that only a process of its own can have, for this one runs its library otherwise. */
export interface EngineSpec {
  readonly engine: string;
  readonly threads: number;
}

/** An engine with so many threads. */
export interface OpenedEngine extends EngineInfos {
  /** What was asked for; what it has is in its info. */
  readonly threads: number;
  /** Open in this process; undefined where this one runs its library otherwise, so that it is verified in a process of its own. */
  readonly here?: Engines;
}

/** Where a network was verified: with the logits that every timed run must give. */
export interface Setting {
  readonly model: Model;
  readonly engine: EngineInfo;
  readonly threads: number;
  readonly size: InputSize;
  readonly pairs: readonly ArmPair[];
  readonly expected: Readonly<Partial<Record<Arm, Float32Array>>>;
}

/** For each engine, the logits of each arm as it computed them when it was verified. */
type VerifiedLogits = ReadonlyMap<string, Readonly<Partial<Record<Arm, Float32Array>>>>;

/** What a verification hands to the timing. */
export interface VerifiedModel {
  /** One row for each deploy form on each engine. */
  readonly rows: readonly Omit<VerificationRow, 'threads' | 'batch'>[];
  readonly logits: VerifiedLogits;
}

export function inputSize(batch: number, { size }: BenchOptions, { resolution }: Model): InputSize {
  return { batch, ...(size ?? { height: resolution, width: resolution }) };
}

export function resolutionOf({ height, width }: InputSize): Resolution {
  return height === width ? height : [height, width];
}

/** What identifies a setting's rows in a report. */
export function keysOf({ model, engine, size }: Setting) {
  return {
    model: model.name,
    engine: engine.name,
    threads: engine.threads,
    batch: size.batch,
    resolution: resolutionOf(size),
  };
}

/** Opens an engine as its users run it and, where it optimises by itself, with that off. */
export async function openBoth(name: string, threads: number): Promise<Engines> {
  return withRaw(await openEngine(name, { threads }), threads);
}

async function withRaw(optimised: Engine, threads: number): Promise<Engines> {
  const { name, optimisation } = optimised.info;
  if (optimisation === undefined) return { optimised };
  return { optimised, raw: await openEngine(name, { threads, optimise: false }) };
}

export function enginesOf({ optimised, raw }: Engines): readonly Engine[] {
  return raw === undefined ? [optimised] : [optimised, raw];
}

export function infosOf({ optimised, raw }: Engines): EngineInfos {
  return { optimised: optimised.info, ...(raw && { raw: raw.info }) };
}

/**
 * Opens every engine with every number of threads; one that cannot be told is opened once, and one that cannot have so many
 * in this process, for it runs here with others, is described by a process of its own.
 * @throws InputError where none is here, or a named one is not
 */
export async function openEngines(
  { engines: names, threads: counts }: BenchOptions,
  describe: (spec: EngineSpec) => Promise<EngineInfos>,
): Promise<{
  opened: readonly OpenedEngine[];
  absent: readonly AbsentEngine[];
}> {
  const opened = new Map<string, OpenedEngine>();
  const absent = new Map<string, AbsentEngine>();
  const isNew = ({ name, threads }: EngineInfo) => !opened.has(`${name}/${threads}`);
  const add = (engine: OpenedEngine) => opened.set(`${engine.optimised.name}/${engine.optimised.threads}`, engine);
  for (const threads of counts) {
    const elsewhere: [string, TakenInProcess][] = [];
    const available = await openAvailable(names, { threads }, engineNames, (...taken) => elsewhere.push(taken));
    for (const optimised of available.engines) {
      if (!isNew(optimised.info)) continue;
      const here = await withRaw(optimised, threads);
      add({ threads, ...infosOf(here), here });
    }
    for (const engine of available.absent) absent.set(`${engine.name}: ${engine.reason}`, engine);
    for (const [name, { fix }] of elsewhere) {
      try {
        const infos = await describe({ engine: name, threads });
        if (isNew(infos.optimised)) add({ threads, ...infos });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (names !== undefined) throw new InputError(`engine ${name}: ${reason}; ${fix}`);
        const key = `${name}: ${reason}`;
        if (!absent.has(key)) absent.set(key, { name, reason, fix }); // what was found in this process has the better remedy
      }
    }
  }
  if (opened.size === 0) {
    const reasons = [...absent.values()].map(({ name, reason, fix }) => `${name}: ${reason}; ${fix}`);
    throw new InputError(`no engine is here, and at least one is needed. ${reasons.join('. ')}`);
  }
  return { opened: [...opened.values()], absent: [...absent.values()] };
}

/** What is verified together: all of one number of threads in this process, and each other one by itself. */
export function verifiedTogether(opened: readonly OpenedEngine[]): readonly (readonly OpenedEngine[])[] {
  const groups = new Map<string, OpenedEngine[]>();
  for (const engine of opened) {
    const key = engine.here === undefined ? `${engine.optimised.name}/${engine.threads}` : String(engine.threads);
    groups.set(key, [...(groups.get(key) ?? []), engine]);
  }
  return [...groups.values()];
}

/** The tiers that kept a form from passing. */
function openTiers(row: VerifiedModel['rows'][number] | undefined): string {
  const tiers = row?.tiers.filter(({ verdict }) => verdict !== 'pass') ?? [];
  return tiers.map(({ tier, verdict }) => `${tier}: ${verdict}`).join(', ') || (row?.verdict ?? 'no verdict');
}

export function failure(place: Pick<Setting, 'model' | 'engine'>, stage: Failure['stage'], message: string): Failure {
  return { model: place.model.name, engine: place.engine.name, stage, message };
}

const ROLES: readonly Role[] = ['baseline', 'arm'];

/** The setting of one network on one engine, less the pairs of which a form did not pass; and why those are missing. */
export function settingOf(
  place: Pick<Setting, 'model' | 'size'>,
  { threads, optimised: engine, raw }: OpenedEngine,
  deployForms: PreparedModel['deployForms'],
  { rows, logits }: VerifiedModel,
): { setting: Setting; failures: readonly Failure[] } {
  const source = (arm: Arm) => (arm === 'reference-raw' ? (raw?.name ?? '') : engine.name);
  const expected: Partial<Record<Arm, Float32Array>> = {};
  for (const arm of armsOf(pairsOf(deployForms, raw !== undefined))) {
    const verified = logits.get(source(arm))?.[arm === 'reference-raw' ? 'reference' : arm];
    if (verified !== undefined) expected[arm] = verified;
  }
  const failures: Failure[] = [];
  const pairs = pairsOf(deployForms, raw !== undefined).filter((pair) => {
    // A train form is one side of every deploy form's verification, that of the pair's own deploy form too.
    const forms = ROLES.map((role) => pair[role]);
    const rowOf = (form: Arm) => rows.find((row) => row.engine === source(pair.baseline) && row.form === form);
    const unverified = [...new Set(forms)].filter(
      (form) => form !== 'reference' && form !== 'reference-raw' && rowOf(form)?.verdict !== 'pass',
    );
    const why =
      unverified.length > 0
        ? unverified.map((form) => `${form} is not verified (${openTiers(rowOf(form))})`).join(' and ')
        : forms.some((form) => expected[form] === undefined) && 'the verification gave no logits';
    // The null control goes without saying.
    if (why && pair.baseline !== pair.arm) {
      const message = `${pair.arm} against ${pair.baseline}: not timed, for ${why}`;
      failures.push(failure({ ...place, engine }, 'verification', message));
    }
    return !why;
  });
  return { setting: { ...place, engine, threads, pairs, expected }, failures };
}
