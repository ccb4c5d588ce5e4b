/** Every fault against every tier: which one sees it, and by how much. */
import type { Engine } from '../../engines/engine.ts';
import type { Verdict } from '../compare.ts';
import type { Tier } from '../findings.ts';
import { type Verification, worstVerdict } from '../verify.ts';
import { type Fault, groupOf, NOT_APPLICABLE, type NotApplicable, type PlantedFault } from './catalogue.ts';
import { type Subject, subjects } from './subjects.ts';
import { type CleanRun, FAULT_TIERS, type Series, TestStand } from './test-stand.ts';

/** Tiers that hold a difference against a bound; in the others a thing is right or wrong. */
const BOUNDED: ReadonlySet<Tier> = new Set(['basis', 'algebra', 'runtime']);

export interface FaultsRequest {
  readonly faults: readonly PlantedFault[];
  /** For the faults that live in an engine. */
  readonly engines: readonly Engine[];
  /** Of the first draw, a whole number from 0 to 2^32 - 1; the others follow it. */
  readonly seed: number;
  /** Of each place on each subject. */
  readonly draws: number;
  /** Told before each fault. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** What one tier said about one fault: on the draws whose nature calls for it, or on all where none does. */
export interface Kills {
  /** Whether the fault's nature calls for the tier, in one place or another. */
  readonly isCalledFor: boolean;
  readonly draws: number;
  readonly killed: number;
  /** Decades from the bound to the fault, on the killed draw where they are fewest; null where none has a distance to a bound. */
  readonly margin: number | null;
}

/** A draw on which a tier that the fault's nature calls for did not see it. */
export interface Survivor {
  readonly place: string;
  readonly subject: string;
  readonly engine?: string;
  readonly seed: number;
  readonly missedBy: readonly Tier[];
}

export interface FaultRow extends Fault {
  readonly group: string;
  /** Rules by name, `graph`, `weight keys`, `stored weights`, `engine`, `request`: where it is planted. */
  readonly places: readonly string[];
  readonly subjects: readonly string[];
  /** Draws on which it changed something. */
  readonly draws: number;
  /** Draws on which it changed nothing, which were drawn again. */
  readonly redraws: number;
  readonly tiers: Readonly<Partial<Record<Tier, Kills>>>;
  /** Whether there was a draw, and every one was killed by every tier that its nature calls for, by a decade or more. */
  readonly killed: boolean;
  readonly survivors: readonly Survivor[];
  /** On freshly initialised weights: subjects on which a check of the logits passes all the same. */
  readonly defaultInit: { readonly hidden: number; readonly of: number };
}

/** One tier on the subjects without a fault. */
export interface CleanRow {
  readonly tier: Tier;
  readonly runs: number;
  readonly verdict: Verdict;
  /** Bound over the largest clean error; null where a tier has no bound. */
  readonly headroom: number | null;
  /** Subject and seed of every run that did not pass. */
  readonly alarms: readonly string[];
}

export interface KillMatrix {
  readonly seed: number;
  readonly draws: number;
  readonly engines: readonly string[];
  readonly faults: readonly FaultRow[];
  /** Faults of which no draw survived. */
  readonly killed: number;
  readonly clean: readonly CleanRow[];
  readonly notApplicable: readonly NotApplicable[];
}

/** Plants each fault in each of its places on every subject that has room for it, and verifies each subject without one. */
export async function killMatrix(
  { faults, engines, seed, draws, onProgress }: FaultsRequest,
  stands: readonly TestStand[] = subjects().map((subject) => new TestStand(subject)),
): Promise<KillMatrix> {
  const rows: FaultRow[] = [];
  for (const [done, fault] of faults.entries()) {
    onProgress?.(done, faults.length, fault.id);
    const found: Series[] = [];
    for (const plant of fault.plants) {
      for (const engine of plant.kind === 'engine' ? engines : [undefined]) {
        for (const stand of stands) found.push(await stand.draw(plant, engine, { seed, draws }));
      }
    }
    rows.push(
      rowOf(
        fault,
        found.filter(({ trials }) => trials.length > 0),
      ),
    );
  }
  return {
    seed,
    draws,
    engines: engines.map(({ info }) => info.name),
    faults: rows,
    killed: rows.filter(({ killed }) => killed).length,
    clean: cleanRows(stands.flatMap((stand) => stand.cleanRuns)),
    notApplicable: NOT_APPLICABLE,
  };
}

/** What one tier said of one verification; undefined where it was not asked. */
function answerOf({ tiers }: Verification, tier: Tier): { verdict: Verdict; worstRatio: number } | undefined {
  const own = tiers.filter((summary) => summary.tier === tier);
  if (own.length === 0) return undefined;
  return {
    verdict: worstVerdict(own.map(({ verdict }) => verdict)),
    worstRatio: Math.max(...own.map(({ worstRatio }) => worstRatio)),
  };
}

/** Nothing that could be compared is a kill: only a pass is a pass. What is inconclusive has seen nothing. */
const KILLING: ReadonlySet<Verdict> = new Set(['fail', 'nothing compared']);

/** Decades that a fault must stand beyond a bound: nearer to it, another draw might be within. */
const LEAST_MARGIN = 1;

/** Whether a fault is beyond the tier's bound by too little to rely on. */
function isClose(tier: Tier, { worstRatio }: { readonly worstRatio: number }): boolean {
  return BOUNDED.has(tier) && worstRatio > 0 && Math.log10(worstRatio) < LEAST_MARGIN;
}

function rowOf({ id, title, source }: PlantedFault, found: readonly Series[]): FaultRow {
  const trials = found.flatMap((series) => series.trials.map((trial) => ({ ...series, ...trial })));
  const isAsked = ({ subject }: { subject: Subject }, tier: Tier) => subject.without !== tier;
  const tiers: Partial<Record<Tier, Kills>> = {};
  for (const tier of FAULT_TIERS) {
    const asked = trials.flatMap((trial) => {
      const answer = isAsked(trial, tier) ? answerOf(trial.verification, tier) : undefined;
      return answer === undefined ? [] : [{ ...answer, isCalledFor: trial.plant.tiers.includes(tier) }];
    });
    if (asked.length === 0) continue;
    const isCalledFor = asked.some((answer) => answer.isCalledFor);
    const counted = asked.filter((answer) => answer.isCalledFor === isCalledFor);
    const kills = counted.filter(({ verdict }) => KILLING.has(verdict));
    // Where the forms cannot even be compared there is no distance.
    const ratios = kills.map(({ worstRatio }) => worstRatio).filter((ratio) => ratio > 0 && Number.isFinite(ratio));
    const margin = BOUNDED.has(tier) && ratios.length > 0 ? Math.log10(Math.min(...ratios)) : null;
    tiers[tier] = { isCalledFor, draws: counted.length, killed: kills.length, margin };
  }
  const survivors = trials.flatMap((trial): Survivor[] => {
    const { plant, subject, engine, seed, verification } = trial;
    const missedBy = plant.tiers.filter((tier) => {
      const answer = answerOf(verification, tier);
      return isAsked(trial, tier) && (answer === undefined || !KILLING.has(answer.verdict) || isClose(tier, answer));
    });
    if (missedBy.length === 0) return [];
    return [{ place: plant.place, subject: subject.name, ...(engine === undefined ? {} : { engine }), seed, missedBy }];
  });
  return {
    id,
    title,
    source,
    group: groupOf(id),
    places: [...new Set(found.map(({ plant }) => plant.place))],
    subjects: [...new Set(found.map(({ subject }) => subject.name))],
    draws: trials.length,
    redraws: found.reduce((sum, { redraws }) => sum + redraws, 0),
    tiers,
    killed: trials.length > 0 && survivors.length === 0,
    survivors,
    defaultInit: { hidden: found.filter(({ isHidden }) => isHidden).length, of: found.length },
  };
}

function cleanRows(runs: readonly CleanRun[]): CleanRow[] {
  return FAULT_TIERS.flatMap((tier): CleanRow[] => {
    const answers = runs.flatMap(({ subject, engine, seed, verification }) => {
      const answer = subject.without === tier ? undefined : answerOf(verification, tier);
      const name = [subject.name, engine, `seed ${seed}`].filter((part) => part !== undefined).join(', ');
      return answer === undefined ? [] : [{ name, ...answer }];
    });
    if (answers.length === 0) return [];
    const worst = Math.max(...answers.map(({ worstRatio }) => worstRatio));
    return [
      {
        tier,
        runs: answers.length,
        verdict: worstVerdict(answers.map(({ verdict }) => verdict)),
        headroom: BOUNDED.has(tier) ? 1 / worst : null,
        alarms: answers.filter(({ verdict }) => verdict !== 'pass').map(({ name }) => name),
      },
    ];
  });
}
