import type { Verdict } from '../verify/compare.ts';

/** Results, on stdout. */
export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/**
 * One JSON document, on stdout. Numbers that JSON cannot hold become their names: "NaN", "Infinity", "-Infinity"; typed
 * arrays become lists.
 */
export function printJson(value: unknown): void {
  const jsonOf = (_key: string, item: unknown) => {
    if (item instanceof Float64Array) return [...item];
    return typeof item === 'number' && !Number.isFinite(item) ? String(item) : item;
  };
  print(JSON.stringify(value, jsonOf, 2));
}

/** Progress and diagnostics, on stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Exit codes: 0 pass, 1 mismatch, 2 bad usage or bad input, 3 inconclusive, 4 a planted fault survives, 5 goldens wait for a review; 70 is a fault of fuseproof itself. */
export const EXIT = { pass: 0, mismatch: 1, usage: 2, inconclusive: 3, survivor: 4, pending: 5, internal: 70 } as const;

export function exitCodeOf(verdict: Verdict): number {
  if (verdict === 'pass') return EXIT.pass;
  return verdict === 'fail' ? EXIT.mismatch : EXIT.inconclusive;
}

/** For a command that decides: the process ends with the worst code set. */
export function setExitCode(code: number): void {
  process.exitCode = Math.max(Number(process.exitCode ?? 0), code);
}
