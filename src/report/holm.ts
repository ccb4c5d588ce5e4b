import type { Speedup } from './types.ts';

/**
 * Holm's step-down correction: the chance that any of them is called different though none is stays below the level.
 * @returns the corrected p values, in the order given
 */
export function holm(pValues: readonly number[]): number[] {
  const corrected = Array<number>(pValues.length);
  const order = [...pValues.keys()].sort((a, b) => pValues[a]! - pValues[b]!);
  let largest = 0;
  for (const [rank, index] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * pValues[index]!));
    corrected[index] = largest;
  }
  return corrected;
}

/** Corrects the p values of all speed-ups of a report together; one that has none keeps none. */
export function withHolm(rows: readonly Speedup[]): Speedup[] {
  const corrected = holm(rows.flatMap(({ pValue }) => pValue ?? []));
  let next = 0;
  return rows.map((row) => ({ ...row, pHolm: row.pValue === null ? null : corrected[next++]! }));
}
