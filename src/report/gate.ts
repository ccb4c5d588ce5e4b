/** Holds a run against a baseline: what must stop a change, and what must not. */
import type { Baseline, BaselineCounts, BaselineSpeedup } from './baseline-types.ts';
import { counted, grouped, interval, size } from './text.ts';
import type { Report, Speedup } from './types.ts';

/** A ratio fails only where its whole interval lies under this part of the baseline's: noise alone does not get there. */
export const TOLERATED = 0.97;

/** What the gate says of one figure. */
export interface Judgement {
  readonly kind: 'ratio' | 'count';
  /** `fail` stops a change. `undecided`: there is no interval. `new`: not in the baseline. `not run`: in the baseline only. */
  readonly verdict: 'pass' | 'fail' | 'undecided' | 'new' | 'not run';
  /** What it is of. */
  readonly subject: string;
  /** Actual value, limit, and what they mean, in one line. */
  readonly message: string;
}

export interface GateResult {
  /** Inconclusive where no figure at all could be held against the baseline's. */
  readonly verdict: 'pass' | 'fail' | 'inconclusive';
  readonly judgements: readonly Judgement[];
  /** Said beside the verdict. */
  readonly notes: readonly string[];
}

const COUNTS = ['parameters', 'buffers', 'macs', 'activations', 'initialisers', 'nodes'] as const;

type Kept = Pick<Report, 'speedups' | 'audit' | 'environment'>;

function speedupEntry(row: Speedup): BaselineSpeedup {
  const { model, engine, threads, batch, resolution, baseline, arm, estimate } = row;
  return { model, engine, threads, batch, size: size(resolution), baseline, arm, estimate };
}

function countEntry(row: Report['audit'][number]): BaselineCounts {
  const { model, form, heads, resolution, parameters, buffers, macs, activations, initialisers, nodes } = row;
  return { model, form, heads, size: size(resolution), parameters, buffers, macs, activations, initialisers, nodes };
}

function speedupSubject({ model, engine, threads, batch, size: at, baseline, arm }: BaselineSpeedup): string {
  const setting = [`${threads} thread${threads === 1 ? '' : 's'}`, `batch ${batch}`, at].join(', ');
  return `${model} on ${engine} (${setting}), ${baseline} / ${arm}`;
}

function countSubject({ model, form, heads, size: at }: BaselineCounts): string {
  return `${model}, ${form}, ${heads} head${heads === 1 ? '' : 's'}, ${at}`;
}

function judgeRatio(row: Speedup, before: number | undefined): Judgement {
  const common = { kind: 'ratio', subject: speedupSubject(speedupEntry(row)) } as const;
  const now = `${row.estimate.toFixed(3)} (${interval(row)})`;
  if (before === undefined) return { ...common, verdict: 'new', message: `${now}; not in the baseline` };
  const limit = TOLERATED * before;
  const was = `the baseline's is ${before.toFixed(3)}, so the limit is ${limit.toFixed(3)}`;
  if (row.high === null)
    return { ...common, verdict: 'undecided', message: `${now}; ${was}; one session decides nothing` };
  return row.high < limit
    ? { ...common, verdict: 'fail', message: `${now}; ${was}, and the whole interval lies under it` }
    : { ...common, verdict: 'pass', message: `${now}; ${was}` };
}

function judgeCounts(row: BaselineCounts, before: BaselineCounts | undefined): Judgement {
  const common = { kind: 'count', subject: countSubject(row) } as const;
  if (before === undefined) return { ...common, verdict: 'new', message: 'not in the baseline' };
  const changed = COUNTS.filter((key) => row[key] !== before[key]).map(
    (key) => `${key} ${grouped(row[key])}, the baseline's are ${grouped(before[key])}`,
  );
  return changed.length === 0
    ? { ...common, verdict: 'pass', message: `${COUNTS.length} counts are equal` }
    : { ...common, verdict: 'fail', message: changed.join('; ') };
}

/** Holds every ratio and every exact count of a run against the baseline's. */
export function judge({ speedups, audit, environment }: Kept, baseline: Baseline): GateResult {
  const ratiosBefore = new Map(baseline.speedups.map((entry) => [speedupSubject(entry), entry.estimate]));
  const countsBefore = new Map(baseline.counts.map((entry) => [countSubject(entry), entry]));
  const ratios = speedups.map((row) => judgeRatio(row, ratiosBefore.get(speedupSubject(speedupEntry(row)))));
  const counts = audit.map(countEntry).map((row) => judgeCounts(row, countsBefore.get(countSubject(row))));
  const present = new Set([...ratios, ...counts].map(({ subject }) => subject));
  const missing = [...ratiosBefore.keys(), ...countsBefore.keys()]
    .filter((subject) => !present.has(subject))
    .map((subject): Judgement => {
      const kind = ratiosBefore.has(subject) ? 'ratio' : 'count';
      return { kind, verdict: 'not run', subject, message: 'in the baseline, and not in this run' };
    });
  const judgements = [...ratios, ...counts, ...missing];
  const decided = judgements.filter(({ verdict }) => verdict === 'pass' || verdict === 'fail');
  const elsewhere = environment.cpu !== baseline.cpu;
  return {
    verdict: decided.some(({ verdict }) => verdict === 'fail')
      ? 'fail'
      : decided.length === 0
        ? 'inconclusive'
        : 'pass',
    judgements,
    notes: elsewhere
      ? [
          `the baseline is of another processor (${baseline.cpu}; this is ${environment.cpu}), and ratios differ between processors`,
        ]
      : [],
  };
}

/** Whether a ratio is known to within what the gate tolerates: of another one, noise would fail later runs. */
export function isKnown({ halfWidth }: Speedup): boolean {
  return halfWidth !== null && halfWidth <= -Math.log(TOLERATED);
}

/** A baseline of this run, of the ratios that are known; what an older one has beside it is kept, but no ratios of another processor. */
export function baselineOf({ speedups, audit, environment }: Kept, before: Baseline | undefined): Baseline {
  const ratios = speedups.filter(isKnown).map(speedupEntry);
  const counts = audit.map(countEntry);
  const kept = before?.cpu === environment.cpu ? before.speedups : [];
  const subjects = new Set([...ratios.map(speedupSubject), ...counts.map(countSubject)]);
  return {
    baselineVersion: 1,
    date: environment.date,
    cpu: environment.cpu,
    speedups: [...kept.filter((entry) => !subjects.has(speedupSubject(entry))), ...ratios],
    counts: [...(before?.counts ?? []).filter((entry) => !subjects.has(countSubject(entry))), ...counts],
  };
}

const SHOWN: Readonly<Record<Judgement['verdict'], boolean>> = {
  pass: false,
  fail: true,
  undecided: true,
  new: true,
  'not run': true,
};

/** What the gate found, a line each; what passes is only counted. */
export function gateLines({ verdict, judgements, notes }: GateResult): readonly string[] {
  const passed = (kind: Judgement['kind']) =>
    judgements.filter((judgement) => judgement.kind === kind && judgement.verdict === 'pass').length;
  const [ratios, forms] = [passed('ratio'), passed('count')];
  const hold = `${counted(ratios, 'ratio')} ${ratios === 1 ? 'holds' : 'hold'}`;
  return [
    `against the baseline: ${verdict}; ${hold}, ${counted(forms, 'form')} ${forms === 1 ? 'has' : 'have'} equal counts`,
    ...judgements
      .filter((judgement) => SHOWN[judgement.verdict])
      .map(({ verdict: said, subject, message }) => `${said}: ${subject}: ${message}`),
    ...notes.map((text) => `note: ${text}`),
  ];
}
