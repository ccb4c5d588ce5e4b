/** What every property shares: its seed and number of draws, the replay of a failure, the verdict on a clean draw. */
import { existsSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { beforeEach, type RunnerTask, type RunnerTestCase, TestRunner, vi } from 'vitest';
import type { DeployForm } from '../src/fused/forms.ts';
import type { Fusion } from '../src/fused/fuse.ts';
import type { Shape, Tensor, Weights } from '../src/network/tensor.ts';
import type { Verdict } from '../src/verify/compare.ts';
import { type Tier, type Verification, verify, worstVerdict } from '../src/verify/verify.ts';
import { randomInput } from '../src/weights/random.ts';

/** What a right fusion is one of: a region of a few nodes, or a whole network. */
export type Subject = 'regions' | 'networks';
/** `inconclusive` where values may overflow, or are all zero, so that there is nothing to compare. */
export type Outcome = 'clean' | 'inconclusive';

declare module 'vitest' {
  interface TaskMeta {
    /** What the properties of the test drew from, and how often in all. */
    seed?: number;
    draws?: number;
    /** A sweep ended before all was drawn; what was drawn holds. */
    isCutShort?: boolean;
    /** Right fusions that it has verified without a false alarm. */
    verified?: Readonly<Record<Subject, Record<Outcome, number>>>;
  }
}

/** The seed of every property of this folder that names none of its own; `FUSEPROOF_SEED` gives another. */
const FIXED_SEED = 20260415;
/** A longer run is not stopped by the test runner. */
const NO_TIMEOUT = 3_600_000;

/** What the properties draw from: fixed, so that a run can be repeated. */
export const seed = numberFrom('FUSEPROOF_SEED', FIXED_SEED, Number.isSafeInteger, 'a whole number');

/** Every property draws this many times as often as it asks for. */
const factor = numberFrom('FUSEPROOF_DRAWS', 1, (value) => value > 0 && value <= 1e6, 'a factor up to 1e6');

if (factor > 1) vi.setConfig({ testTimeout: NO_TIMEOUT });

/**
 * A folder of the sweep that runs the properties (scripts/properties.js): it writes `over` there, they what failed, under
 * the id of the test. Files, for a property may keep its process too busy to listen.
 */
const sweep = process.env.FUSEPROOF_SWEEP;
const OVER = 'the sweep is over';

function isOver(folder: string): boolean {
  return existsSync(join(folder, 'over'));
}

if (sweep !== undefined) beforeEach(({ skip }) => skip(isOver(sweep), OVER));

function numberFrom(name: string, standard: number, isRight: (value: number) => boolean, needed: string): number {
  const text = process.env[name];
  const value = text === undefined ? standard : Number(text.trim() === '' ? Number.NaN : text);
  if (!isRight(value)) throw new Error(`${name} is ${text}; ${needed} is needed`);
  return value;
}

export interface PropertyOptions<Draw> {
  readonly seed: number;
  readonly numRuns: number;
  readonly path?: string;
  readonly plugins: fc.Plugin<Draw>[];
  readonly reporter: (details: fc.RunDetails<Draw>) => void;
}

/**
 * Parameters of `fc.assert`. A failure prints the command that repeats it, from the smallest counterexample.
 * @param numRuns draws; `FUSEPROOF_DRAWS=20` makes it 20 times as many
 */
export function propertyOptions<Draw>(numRuns: number): PropertyOptions<Draw> {
  const path = process.env.FUSEPROOF_PATH;
  const draws = Math.max(1, Math.round(numRuns * factor));
  const plugins = sweep === undefined ? [] : [endingWith<Draw>(sweep)];
  return { seed, numRuns: draws, ...(path === undefined ? {} : { path }), plugins, reporter };
}

type RunOutcome = fc.PreconditionFailure | fc.PropertyFailure | null;

/** Ends a property between two draws when the sweep is over, and notes its first failure, before that is shrunk. */
function endingWith<Draw>(folder: string): fc.Plugin<Draw> {
  return () => {
    let runs = 0;
    let isNoted = false;
    const note = (draw: Draw, run: number, outcome: RunOutcome): RunOutcome => {
      if (!isNoted && outcome !== null && !fc.PreconditionFailure.isFailure(outcome)) {
        isNoted = true;
        const test = currentTest();
        const lines = [
          `${relative(process.cwd(), test.file.filepath)} > ${nameOf(test)}`,
          `Failed, and not shrunk: ${fc.stringify(draw)}`,
          String(outcome.error),
          `Replay: ${replayOf({ seed, counterexamplePath: String(run) })}`,
        ];
        writeFileSync(join(folder, test.id), lines.join('\n'));
      }
      return outcome;
    };
    return {
      decorateRun: (decorated) => (draw) => {
        if (isOver(folder)) return new fc.PreconditionFailure(true);
        const run = runs++;
        const outcome = decorated(draw);
        return outcome instanceof Promise ? outcome.then((late) => note(draw, run, late)) : note(draw, run, outcome);
      },
    };
  };
}

/** The test that is running. */
function currentTest(): RunnerTestCase {
  return TestRunner.getCurrentTest<RunnerTestCase>();
}

function reporter<Draw>(details: fc.RunDetails<Draw>): void {
  const { meta, context } = currentTest();
  meta.seed = details.seed;
  meta.draws = (meta.draws ?? 0) + details.numRuns;
  if (details.interrupted && details.counterexamplePath === null) {
    meta.isCutShort = true;
    // Ends the test: what it expects of all draws cannot be asked of a part of them.
    context.skip(OVER);
  }
  if (!details.failed) return;
  throw new Error(`${fc.defaultReportMessage(details)}\nReplay: ${replayOf(details)}`, {
    cause: details.errorInstance,
  });
}

/** The shell command that runs one counterexample alone. */
function replayOf(details: Pick<fc.RunDetails<unknown>, 'seed' | 'counterexamplePath'>): string {
  const { seed: drawn, counterexamplePath } = details;
  const test = currentTest();
  const pattern = `^${nameOf(test).replace(/[$()*+.?[\\\]^{|}]/g, '\\$&')}$`;
  return [
    `FUSEPROOF_SEED=${drawn}`,
    ...(factor === 1 ? [] : [`FUSEPROOF_DRAWS=${factor}`]),
    ...(counterexamplePath === null ? [] : [`FUSEPROOF_PATH=${counterexamplePath}`]),
    `npx vitest run ${quoted(relative(process.cwd(), test.file.filepath))} -t ${quoted(pattern)}`,
  ].join(' ');
}

/** What vitest holds its `-t` against. */
function nameOf({ suite, name }: RunnerTask): string {
  return suite === undefined ? name : `${nameOf(suite)} ${name}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A fusion, and the values that it is verified on. */
export interface Drawn {
  readonly form: DeployForm;
  readonly fusion: Fusion;
  readonly weights: Weights;
  /** As stored; those of the fusion, rounded once, by default. */
  readonly deployWeights?: Weights<Float32Array>;
  readonly input: Tensor<Float32Array>;
  /** Of probes. */
  readonly seed: number;
}

/** Tiers that judge a fusion on its weights, without an engine. */
const TIERS: readonly Tier[] = ['structure', 'basis', 'weights', 'algebra'];

/** Verifies without an engine: the fusion on its weights, and in the tiers that are asked for besides. */
export function verifyDrawn({ form, seed: drawn, ...rest }: Drawn, ...more: readonly Tier[]): Promise<Verification> {
  const probe = (shape: Shape, name: string) => randomInput(shape, drawn, name);
  return verify({ ...rest, form: form.name, engines: [], probe, tiers: [...TIERS, ...more], seed: drawn });
}

/** Weights up to which exact fractions cost little more than all other tiers. */
const EXACT_WEIGHTS = 24;

/** What a clean draw has to pass besides. */
function furtherTiers({ weights }: Drawn): readonly Tier[] {
  let total = 0;
  for (const { data } of weights.values()) total += data.length;
  return total <= EXACT_WEIGHTS ? ['network', 'exact'] : ['network'];
}

/**
 * A right fusion must not fail in any tier: a failure is a false alarm. Counts it, with all its forms as one draw, towards
 * the rate of false alarms.
 */
export async function expectClean(subject: Subject, ...forms: readonly Drawn[]): Promise<void> {
  const verdicts: Verdict[] = [];
  for (const drawn of forms) {
    const verification = await verifyDrawn(drawn, ...furtherTiers(drawn));
    if (verification.verdict === 'fail') throw new Error(`false alarm: ${described(verification)}`);
    verdicts.push(verification.verdict);
  }
  const { meta } = currentTest();
  meta.verified ??= { regions: { clean: 0, inconclusive: 0 }, networks: { clean: 0, inconclusive: 0 } };
  meta.verified[subject][worstVerdict(verdicts) === 'pass' ? 'clean' : 'inconclusive']++;
}

/** The tiers that fail, problems, and each failure's worst element, a line each. */
function described({ tiers, failures, problems }: Verification): string {
  const failed = tiers.filter(({ verdict }) => verdict === 'fail').map(({ tier }) => tier);
  const shown = failures.map(({ tier, piece, input, key, comparison }) =>
    JSON.stringify({ tier, piece, input, key, reason: comparison.reason, worst: comparison.worst[0] }),
  );
  return [failed.join(', '), ...problems, ...shown].join('\n');
}
