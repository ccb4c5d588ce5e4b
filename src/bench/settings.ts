/** What a run times: each network in each setting that it was verified in. */
import type { Engine, EngineInfo } from '../engines/engine.ts';
import { type AbsentEngine, openAvailable, openEngine } from '../engines/index.ts';
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

/** An engine with so many threads, as its users run it and, where it optimises by itself, with that off. */
export interface OpenedEngine extends Engines {
  /** What was asked for; what it has is in its info. */
  readonly threads: number;
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

/**
 * Opens every engine with every number of threads; one that cannot be told is opened once.
 * @throws InputError where none is here, or a named one is not
 */
export async function openEngines({ engines: names, threads: counts }: BenchOptions): Promise<{
  opened: readonly OpenedEngine[];
  absent: readonly AbsentEngine[];
}> {
  const opened = new Map<string, OpenedEngine>();
  const absent = new Map<string, AbsentEngine>();
  for (const threads of counts) {
    const available = await openAvailable(names, { threads });
    for (const optimised of available.engines) {
      const { name, threads: used, optimisation } = optimised.info;
      if (opened.has(`${name}/${used}`)) continue;
      const raw = optimisation === undefined ? {} : { raw: await openEngine(name, { threads, optimise: false }) };
      opened.set(`${name}/${used}`, { threads, optimised, ...raw });
    }
    for (const engine of available.absent) absent.set(`${engine.name}: ${engine.reason}`, engine);
  }
  if (opened.size === 0) {
    const reasons = [...absent.values()].map(({ name, reason, fix }) => `${name}: ${reason}; ${fix}`);
    throw new InputError(`no engine is here, and at least one is needed. ${reasons.join('. ')}`);
  }
  return { opened: [...opened.values()], absent: [...absent.values()] };
}

/** All that are verified at a time: those of one number of threads, raw ones too, so that names are unique. */
export function enginesOf(opened: readonly OpenedEngine[], threads: number): readonly Engine[] {
  return opened
    .filter((each) => each.threads === threads)
    .flatMap(({ optimised, raw }) => (raw === undefined ? [optimised] : [optimised, raw]));
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
  { threads, optimised, raw }: OpenedEngine,
  deployForms: PreparedModel['deployForms'],
  { rows, logits }: VerifiedModel,
): { setting: Setting; failures: readonly Failure[] } {
  const engine = optimised.info;
  const source = (arm: Arm) => (arm === 'reference-raw' ? (raw?.info.name ?? '') : engine.name);
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
