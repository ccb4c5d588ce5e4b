import type { Shape, Tensor } from '../network/tensor.ts';
import type { Rounding } from './basis.ts';
import type { Comparison, Verdict } from './compare.ts';
import type { LogitsReport } from './logits.ts';

/** Which form a network or a piece of it belongs to; `both` for a node that fusing leaves as it is. */
export type Form = 'reference' | 'deploy' | 'both';

/** The questions that a verification asks, in the order of their answers (docs/verdict.md). */
export const TIERS = [
  'canaries',
  'structure',
  'exact',
  'basis',
  'weights',
  'algebra',
  'dyadic',
  'runtime',
  'network',
] as const;
export type Tier = (typeof TIERS)[number];

/** One comparison of one piece, in one tier. */
export interface Finding {
  readonly tier: Tier;
  /** The deploy node; for the network tier, the network. */
  readonly piece: string;
  readonly rules: readonly string[];
  /** The reference nodes that it replaces, or itself. */
  readonly reference: readonly string[];
  readonly engine?: string;
  readonly form?: Form;
  /** `own` activations, or a `probe` map large enough to exercise every tap. */
  readonly input?: 'own' | 'probe';
  /** Of the compared tensor. */
  readonly shape: Shape;
  /** The state_dict key, in the weights and the basis tier. */
  readonly key?: string;
  /** How the weights were rounded, in the basis tier. */
  readonly rounding?: Rounding;
  /** In a finding of these two that fails: whether fusing in float32 makes differences as large as all of these. */
  readonly roundedInFloat32?: boolean;
  /** K of the bound. */
  readonly operations?: number;
  readonly comparison: Comparison;
}

/** One region against its bound, at the element that comes nearest to it or is furthest beyond. */
export interface RegionError {
  /** The deploy node. */
  readonly region: string;
  /** Its place among all regions, from the input to the logits, from 0. */
  readonly place: number;
  /** |actual - expected|. */
  readonly error: number;
  readonly bound: number;
}

/** A tier's findings summed up, per engine and form where it has them. */
export interface TierSummary {
  readonly tier: Tier;
  readonly engine?: string;
  readonly form?: Form;
  readonly verdict: Verdict;
  /** Elements compared; for structure, nodes and keys looked at. */
  readonly compared: number;
  /** Pieces compared. */
  readonly pieces: number;
  /** Largest error over its bound, and where. */
  readonly worstRatio: number;
  readonly worstPiece?: string;
  /** In the tiers that have a bound, every region where both are finite, in the order of the network. */
  readonly regions?: readonly RegionError[];
  /** How the weights were rounded, in the basis tier. */
  readonly rounding?: Rounding;
}

/** End-to-end logits of one form on one engine against the float64 reference. */
export interface NetworkRow {
  readonly engine: string;
  readonly form: Form;
  readonly logits: LogitsReport;
}

export interface Verification {
  readonly model: string;
  /** The deploy form that was held against the train form. */
  readonly form: string;
  readonly verdict: Verdict;
  readonly tiers: readonly TierSummary[];
  readonly network: readonly NetworkRow[];
  /** Everything that did not pass, in topological order: the first is where to look. */
  readonly failures: readonly Finding[];
  /** Sentences about what no finding shows: structure, canaries, an engine that refused. */
  readonly problems: readonly string[];
  /** Float32 logits of each form as each engine computed them, verified here: `ENGINE/FORM`. */
  readonly logits: ReadonlyMap<string, Tensor<Float32Array>>;
}

/** Collects findings into summaries and failures. */
export class Ledger {
  readonly #tiers = new Map<string, TierSummary>();
  /** By tier, then by region. */
  readonly #regions = new Map<string, Map<string, RegionError>>();
  /** Regions are checked from the input to the logits, each in all tiers: in the order in which they are first heard of. */
  readonly #places = new Map<string, number>();
  readonly failures: Finding[] = [];
  readonly problems: string[] = [];
  readonly #onFinding: ((finding: Finding) => void) | undefined;

  constructor(onFinding?: (finding: Finding) => void) {
    this.#onFinding = onFinding;
  }

  add(finding: Finding): void {
    this.#onFinding?.(finding);
    const { tier, engine, form, comparison } = finding;
    const key = [tier, engine, form].join('/');
    const before = this.#tiers.get(key);
    const worse = before === undefined || comparison.worstRatio > before.worstRatio;
    const worstPiece = worse ? finding.piece : before.worstPiece;
    this.#tiers.set(key, {
      tier,
      ...(engine === undefined ? {} : { engine }),
      ...(form === undefined ? {} : { form }),
      verdict: before === undefined ? comparison.verdict : worstVerdict([before.verdict, comparison.verdict]),
      compared: (before?.compared ?? 0) + comparison.compared,
      pieces: (before?.pieces ?? 0) + 1,
      worstRatio: Math.max(before?.worstRatio ?? 0, comparison.worstRatio),
      ...(worstPiece === undefined ? {} : { worstPiece }),
      ...roundingOf(before?.rounding, finding.rounding),
    });
    if (tier === 'algebra' || tier === 'runtime') this.#keepRegion(key, finding);
    if (comparison.verdict !== 'pass') this.failures.push(finding);
  }

  /** A region that is compared on two inputs has the one that comes nearer to its bound. */
  #keepRegion(key: string, { piece, comparison }: Finding): void {
    const [worst] = comparison.worst;
    if (worst === undefined) return;
    const error = Math.abs(worst.actual - worst.expected);
    if (!Number.isFinite(error) || !Number.isFinite(worst.bound)) return;
    const regions = this.#regions.get(key) ?? new Map<string, RegionError>();
    this.#regions.set(key, regions);
    const place = this.#places.get(piece) ?? this.#places.size;
    this.#places.set(piece, place);
    const before = regions.get(piece);
    if (before === undefined || error * before.bound > before.error * worst.bound) {
      regions.set(piece, { region: piece, place, error, bound: worst.bound });
    }
  }

  /** A tier's verdict that does not come from elements' differences. */
  note(
    tier: Tier,
    verdict: Verdict,
    compared: number,
    problems: readonly string[],
    of: Pick<TierSummary, 'engine' | 'form'> = {},
  ): void {
    this.#tiers.set([tier, of.engine, of.form].join('/'), { tier, ...of, verdict, compared, pieces: 0, worstRatio: 0 });
    for (const problem of problems) if (!this.problems.includes(problem)) this.problems.push(problem);
  }

  /** In the order of the tiers; of one tier, in the order that they were first heard of. */
  summaries(): TierSummary[] {
    const summaries = [...this.#tiers].map(([key, summary]): TierSummary => {
      const regions = this.#regions.get(key);
      return regions === undefined ? summary : { ...summary, regions: [...regions.values()] };
    });
    return summaries.sort((a, b) => TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier));
  }
}

function roundingOf(before: Rounding | undefined, found: Rounding | undefined): Pick<TierSummary, 'rounding'> {
  const only = found ?? before;
  if (only === undefined) return {};
  if (found === undefined || before === undefined) return { rounding: only };
  const worst = found.worstUlps > before.worstUlps ? found : before;
  const rounding = {
    ...worst,
    correctly: before.correctly + found.correctly,
    inFloat32: before.inFloat32 + found.inFloat32,
  };
  return { rounding };
}

const BY_SEVERITY: readonly Verdict[] = ['fail', 'nothing compared', 'inconclusive', 'pass'];

/** The worst of several verdicts; of none, that nothing was compared. */
export function worstVerdict(verdicts: readonly Verdict[]): Verdict {
  return BY_SEVERITY.find((verdict) => verdicts.includes(verdict)) ?? 'nothing compared';
}
