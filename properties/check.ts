import fc from 'fast-check';
import { vi } from 'vitest';

/** The seed of every property of this folder that names none of its own; `FUSEPROOF_SEED` gives another. */
const FIXED_SEED = 20260415;
/** A long run draws this many times as often. */
const LONG_FACTOR = 20;

const long = process.env.FUSEPROOF_LONG === '1';
const randomSeed = Math.floor(Math.random() * 2 ** 31);

/** What the properties draw from: fixed, so that a run can be repeated; `FUSEPROOF_LONG=1` draws a new one. */
export const seed = Number(process.env.FUSEPROOF_SEED ?? (long ? randomSeed : FIXED_SEED));

if (!Number.isSafeInteger(seed)) {
  throw new Error(`FUSEPROOF_SEED is ${process.env.FUSEPROOF_SEED}; a whole number is needed`);
}
if (long) vi.setConfig({ testTimeout: 3_600_000 });

export interface PropertyOptions<Draw> {
  readonly seed: number;
  readonly numRuns: number;
  readonly path?: string;
  readonly reporter: (details: fc.RunDetails<Draw>) => void;
}

/**
 * Parameters of `fc.assert`. A failure prints the command that repeats it, from the smallest counterexample.
 * @param numRuns draws; `FUSEPROOF_LONG=1` makes it 20 times as many
 */
export function propertyOptions<Draw>(numRuns: number): PropertyOptions<Draw> {
  const path = process.env.FUSEPROOF_PATH;
  return { seed, numRuns: long ? numRuns * LONG_FACTOR : numRuns, ...(path === undefined ? {} : { path }), reporter };
}

function reporter<Draw>(details: fc.RunDetails<Draw>): void {
  if (!details.failed) return;
  const path = details.counterexamplePath === null ? '' : ` FUSEPROOF_PATH='${details.counterexamplePath}'`;
  const replay = `Replay: FUSEPROOF_SEED=${details.seed}${path} npx vitest run FILE -t 'NAME OF THE TEST'`;
  throw new Error(`${fc.defaultReportMessage(details)}\n${replay}`, { cause: details.errorInstance });
}
