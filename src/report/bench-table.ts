import { grouped, HONEST_NOTE, interval, latency, milliseconds, modelsOf, outcome, size, wrap } from './text.ts';
import type { Failure, Report, Speedup, VerificationRow } from './types.ts';

const COLUMNS = [15, 8, 14, 11] as const;

function line(cells: readonly string[], last: string): string {
  const padded = cells.map((cell, column) => {
    const width = COLUMNS[column] ?? 0;
    return column === 0 ? cell.padEnd(width) : cell.padStart(width);
  });
  return `  ${padded.join('')}  ${last}`;
}

function timingLines(report: Report, row: Speedup): readonly string[] {
  const [reference, deploy] = [latency(report, row, 'reference'), latency(report, row, 'deploy')];
  const threads = report.measurements.find(
    ({ model, engine }) => model === row.model && engine === row.engine,
  )?.threads;
  const cells = [row.engine, threads, reference, deploy].map((value, column) => {
    if (value === undefined) return '-';
    return typeof value === 'number' && column > 1 ? milliseconds(value) : String(value);
  });
  const unclear = outcome(row) === 'no difference shown' ? ['the interval holds 1: no difference shown'] : [];
  const notes = [...unclear, ...(row.note === '' ? [] : [row.note])].join('; ');
  return [
    line(cells, `${row.estimate.toFixed(3)} (${interval(row)})`),
    ...(notes === '' ? [] : [wrap(notes, '    note: ', '    ')]),
  ];
}

function verificationLine({ engine, verdict, tiers }: VerificationRow): string {
  const compared = tiers.reduce((sum, tier) => sum + tier.compared, 0);
  const open = tiers.filter((tier) => tier.verdict !== 'pass').map((tier) => `${tier.tier}: ${tier.verdict}`);
  const details = [`${grouped(compared)} elements compared`, ...open].join('; ');
  return wrap(`${verdict} on ${engine}, ${details}`, '  verified: ', '    ');
}

function failureLine({ model, engine, stage, message }: Failure): string {
  return wrap(`${model}${engine === null ? '' : ` on ${engine}`}, ${stage}: ${message}`, '✗ ', '  ');
}

function modelBlock(report: Report, model: string): string {
  const here = <Row extends { readonly model: string }>(rows: readonly Row[]) =>
    rows.filter((row) => row.model === model);
  const [timed] = here(report.measurements);
  const title = timed === undefined ? model : `${model} at ${size(timed.resolution)}, batch ${timed.batch}`;
  const speedups = here(report.speedups);
  return [
    title,
    ...(speedups.length === 0
      ? ['  not timed']
      : [line(['engine', 'threads', 'reference ms', 'deploy ms'], 'reference / deploy')]),
    ...speedups.flatMap((row) => timingLines(report, row)),
    ...here(report.verification).map(verificationLine),
    '',
  ].join('\n');
}

/** A benchmark's report as text for a terminal of 80 columns. */
export function benchTable(report: Report): string {
  const { absent } = report.environment;
  return [
    ...modelsOf(report).map((model) => modelBlock(report, model)),
    ...report.failures.map(failureLine),
    ...absent.map(({ name, reason, fix }) => wrap(`${name}: ${reason}; ${fix}`, 'not here: ', '  ')),
    ...(report.failures.length + absent.length > 0 ? [''] : []),
    wrap(HONEST_NOTE),
  ].join('\n');
}
