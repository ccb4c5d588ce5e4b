import type { Report } from '../types.ts';

/** A report, and what the page calls the machine that it is of. */
export interface Machine {
  /** Short, for a table's column or a chart's key. */
  readonly label: string;
  readonly report: Report;
}

/** A row of some report with its machine. */
export type Of<Row> = Row & { readonly machine: string };

/** The rows of all machines, each with its machine. */
export function rowsOf<Row extends object>(
  machines: readonly Machine[],
  pick: (report: Report) => readonly Row[],
): readonly Of<Row>[] {
  return machines.flatMap(({ label, report }) => pick(report).map((row) => ({ ...row, machine: label })));
}

/** In the order in which they first come. */
export function distinct<Value>(values: Iterable<Value>): readonly Value[] {
  return [...new Set(values)];
}
