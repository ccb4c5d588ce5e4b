import type { KillMatrix } from '../verify/faults/kill-matrix.ts';
import { TIERS, type Tier } from '../verify/verify.ts';
import type { FaultReportRow, KillMatrixReport } from './types.ts';

function hiddenOf({ hidden, of }: { readonly hidden: number; readonly of: number }): FaultReportRow['hidden'] {
  if (of === 0) return 'not asked';
  if (hidden === 0) return 'none';
  return hidden === of ? 'all' : 'some';
}

type Matrix = Pick<KillMatrix, 'seed' | 'draws' | 'killed' | 'faults'>;

/** A kill matrix as a report holds it. */
function compact({ seed, draws, killed, faults }: Matrix): KillMatrixReport {
  const asked = new Set(faults.flatMap(({ tiers }) => Object.keys(tiers)));
  const tiers = TIERS.filter((tier) => asked.has(tier));
  return {
    seed,
    draws,
    killed,
    tiers,
    faults: faults.map(({ id, title, group, killed: isKilled, defaultInit, tiers: own }) => ({
      id,
      title,
      group,
      killed: isKilled,
      hidden: hiddenOf(defaultInit),
      kills: (Object.entries(own) as [Tier, NonNullable<(typeof own)[Tier]>][]).map(
        ([tier, { isCalledFor, draws: of, killed: seen, margin }]) => ({
          tier,
          calledFor: isCalledFor,
          draws: of,
          killed: seen,
          margin,
        }),
      ),
    })),
  };
}

/** What `faults --json` printed, as a report holds it; undefined where it is of another make. */
export function killMatrixReport(printed: object): KillMatrixReport | undefined {
  try {
    return compact(printed as Matrix);
  } catch (error) {
    // A field that is missing or of another kind; what is left is for the schema to judge.
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}
