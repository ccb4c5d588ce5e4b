/** Puts reports of several machines, or of several parts of one run, side by side. */
import { withHolm } from './holm.ts';
import type { Machine } from './html/machines.ts';
import type { KillMatrixReport, Report } from './types.ts';

/** A report and the file that it is of. */
export interface NamedReport {
  /** The file's path; it tells reports of like machines apart. */
  readonly file: string;
  readonly report: Report;
}

/** What two parts of one run have in common. */
function sourceOf({ environment: e }: Report): string {
  return [e.cpu, e.cores, e.platform, e.node, e.fuseproof, e.commit, e.quick].join('\n');
}

/** What must not be measured twice on one machine. */
function cellsOf({
  speedups,
  measurements,
  verification,
  failures,
  skipped,
  throughput,
  profiles,
}: Report): readonly string[] {
  const rows = [...speedups, ...measurements, ...verification, ...skipped, ...throughput, ...profiles];
  const settings = rows.map((row) => [row.model, row.engine, row.threads, row.batch].join('\n'));
  return [...new Set([...settings, ...failures.map(({ model, engine }) => `${model}\n${engine}`)])];
}

const BY_SEVERITY = ['fail', 'inconclusive', 'pass'] as const;

function worst(verdicts: readonly Report['verdict'][]): Report['verdict'] {
  return BY_SEVERITY.find((verdict) => verdicts.includes(verdict)) ?? 'inconclusive';
}

/** Each once, in the order in which they come. */
function union<Row>(rows: readonly Row[], keyOf: (row: Row) => string): Row[] {
  return [...new Map(rows.map((row) => [keyOf(row), row])).values()];
}

/** Parts of one run as one report; a part that did not pass is not hidden by one that did. */
function join(parts: readonly Report[]): Report {
  const [first, ...others] = parts;
  if (first === undefined) throw new Error('nothing to join');
  if (others.length === 0) return first;
  const all = <Row>(pick: (report: Report) => readonly Row[]) => parts.flatMap((part) => [...pick(part)]);
  const environments = parts.map(({ environment }) => environment);
  const peaks = environments.flatMap(({ peakRssBytes }) => peakRssBytes ?? []);
  const leaks = environments.flatMap(({ tensorsLeaked }) => tensorsLeaked ?? []);
  const engines = union(
    environments.flatMap((each) => each.engines),
    (engine) => JSON.stringify(engine),
  );
  const here = new Set(engines.map(({ name }) => name));
  const matrix = parts.flatMap(({ killMatrix }) => killMatrix ?? [])[0];
  return {
    ...first,
    verdict: worst(parts.map(({ verdict }) => verdict)),
    partial: parts.some(({ partial }) => partial),
    measurements: all((part) => part.measurements),
    speedups: withHolm(all((part) => part.speedups)),
    nullControls: all((part) => part.nullControls),
    suites: all((part) => part.suites),
    throughput: all((part) => part.throughput),
    profiles: all((part) => part.profiles),
    networks: union(
      all((part) => part.networks),
      (row) => JSON.stringify(row),
    ),
    skipped: all((part) => part.skipped),
    audit: union(
      all((part) => part.audit),
      ({ model, form, heads, resolution }) => JSON.stringify([model, form, heads, resolution]),
    ),
    figures: union(
      all((part) => part.figures ?? []),
      (row) => JSON.stringify(row),
    ),
    accuracies: union(
      all((part) => part.accuracies ?? []),
      (row) => JSON.stringify(row),
    ),
    verification: all((part) => part.verification),
    failures: all((part) => part.failures),
    ...(matrix === undefined ? {} : { killMatrix: matrix }),
    environment: {
      ...first.environment,
      elapsedSeconds: environments.reduce((sum, { elapsedSeconds }) => sum + elapsedSeconds, 0),
      peakRssBytes: peaks.length === 0 ? null : Math.max(...peaks),
      tensorsLeaked: leaks.length === 0 ? null : leaks.reduce((sum, leaked) => sum + leaked, 0),
      engines,
      absent: union(
        environments.flatMap((each) => each.absent),
        ({ name }) => name,
      ).filter(({ name }) => !here.has(name)),
    },
  };
}

function labelOf({ environment: { cpu, cores } }: Report): string {
  return `${cpu}, ${cores} cores`;
}

/**
 * A column for each machine. Reports of one machine that have nothing measured twice are parts of one run, as a CI matrix
 * makes them, and are joined; where something was measured twice, each has a column.
 */
export function mergeReports(files: readonly NamedReport[], matrix?: KillMatrixReport): readonly Machine[] {
  const groups: { readonly source: string; readonly cells: Set<string>; readonly parts: NamedReport[] }[] = [];
  for (const named of files) {
    const source = sourceOf(named.report);
    const cells = cellsOf(named.report);
    const group = groups.find((each) => each.source === source && !cells.some((cell) => each.cells.has(cell)));
    if (group === undefined) {
      groups.push({ source, cells: new Set(cells), parts: [named] });
    } else {
      group.parts.push(named);
      for (const cell of cells) group.cells.add(cell);
    }
  }
  const labels = groups.map(({ parts }) => labelOf(parts[0]!.report));
  return groups.map(({ parts }, index): Machine => {
    const label = labels[index]!;
    const isUnique = labels.filter((other) => other === label).length === 1;
    const report = join(parts.map((part) => part.report));
    return {
      label: isUnique ? label : `${label} (${parts[0]!.file})`,
      report: matrix === undefined ? report : { ...report, killMatrix: matrix },
    };
  });
}
