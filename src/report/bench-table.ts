import { profileFigures, profileLines } from './profile-table.ts';
import {
  counted,
  engineText,
  grouped,
  HONEST_NOTE,
  interval,
  isSameSetting,
  measured,
  milliseconds,
  modelsOf,
  size,
  skippedTitle,
  wrap,
} from './text.ts';
import { perSecond, type ThroughputLine, throughputLines } from './throughput-table.ts';
import type { Arm, Failure, NullControl, Profile, Report, Skipped, Speedup, VerificationRow } from './types.ts';

const COLUMNS = [17, 8, 12, 11] as const;

function line(cells: readonly string[], last: string): string {
  const padded = cells.map((cell, column) => {
    const width = COLUMNS[column] ?? 0;
    return column === 0 ? cell.padEnd(width) : cell.padStart(width);
  });
  return `  ${padded.join('')}  ${last}`;
}

/** An arm in a column's title. */
const TITLES: Readonly<Record<Arm, string>> = {
  'reference-raw': 'raw',
  reference: 'train',
  'deploy-official': 'official',
  deploy: 'deploy',
};

function nullText({ estimate, strayed, noisy, sessions }: NullControl): string {
  const off = `null ${estimate.toFixed(3)}`;
  return noisy ? `${off}, strayed in ${strayed} of ${counted(sessions.length, 'session')}` : off;
}

function timingLines(report: Report, row: Speedup, said: Set<string>): readonly string[] {
  const times = [row.baseline, row.arm].map((arm) => {
    const side = measured(report, row, arm);
    return side === undefined ? '-' : milliseconds(side.latencyMs);
  });
  const control = report.nullControls.find((each) => isSameSetting(each, row));
  const notes = [
    counted(row.sessions.length, 'session'),
    ...(control === undefined ? [] : [nullText(control)]),
    ...(row.outcome === 'faster' || row.outcome === 'slower' ? [] : [row.outcome]),
    ...row.note.split('; ').filter((note) => note !== ''),
  ];
  // What holds for the setting is said once, though it stands in each row of the report.
  const fresh = notes.filter((note) => note === row.outcome || !said.has(keyOf(row, note)));
  for (const note of notes) said.add(keyOf(row, note));
  const threads = `${row.threads}${row.batch === 1 ? '' : ` x${row.batch}`}`;
  return [
    line([row.engine, threads, ...times], `${row.estimate.toFixed(3)} (${interval(row)})`),
    ...(fresh.length === 0 ? [] : [wrap(fresh.join('; '), '    ', '    ')]),
  ];
}

function keyOf({ engine, threads, batch }: Speedup, note: string): string {
  return JSON.stringify([engine, threads, batch, note]);
}

/** The engines that timed one pair of arms. */
function pairLines(report: Report, rows: readonly Speedup[], baseline: Arm, said: Set<string>): readonly string[] {
  const own = rows.filter((row) => row.baseline === baseline);
  const [first] = own;
  if (first === undefined) return [];
  const [a, b] = [TITLES[baseline], TITLES[first.arm]];
  return [
    line(['engine', 'threads', `${a} ms`, `${b} ms`], `${a} / ${b}`),
    ...own.flatMap((row) => timingLines(report, row, said)),
  ];
}

function throughputText({ all: [first, ...rest] }: ThroughputLine): string {
  if (first === undefined) return '';
  const { arm, engine, threads, batch } = first;
  const each = [first, ...rest].map(
    ({ streams, latencyMs, imagesPerSecond }) =>
      `${counted(streams, 'stream')} ${milliseconds(latencyMs)} ms, ${perSecond(imagesPerSecond)}/s`,
  );
  const batches = batch === 1 ? '' : `, batch ${batch}`;
  const where = `${TITLES[arm]} on ${engine}, ${counted(threads, 'thread')}${batches}`;
  return wrap(`${where}: ${each.join('; ')}`, '  throughput: ', '    ');
}

/** Widths of a profile's columns: milliseconds, share, GFLOP/s, share of the peak. */
const FIGURES = [8, 8, 9, 7] as const;
const NAME = 32;
const OP = 12;
/** Nodes that the terminal lists one by one. */
const LISTED = 10;

function shortened(text: string, width: number): string {
  return text.length <= width ? text.padEnd(width) : `…${text.slice(text.length - width + 1)}`;
}

function profileBlock(profile: Profile): readonly string[] {
  const { engine, arm, threads, totalMs, inferences, peakGflops } = profile;
  const peak = peakGflops === null ? '' : `; peak ${peakGflops.toFixed(0)} GFLOP/s`;
  const row = (name: string, op: string, figures: readonly string[]) =>
    `  ${shortened(name, NAME)}  ${shortened(op, OP)}${figures.map((text, i) => text.padStart(FIGURES[i] ?? 0)).join('')}`;
  return [
    wrap(
      `${TITLES[arm]} on ${engine}, ${counted(threads, 'thread')}: ${milliseconds(totalMs)} ms, median of ${inferences} inferences${peak}`,
      '  profile: ',
      '    ',
    ),
    row('node', 'op', ['ms', 'share', 'GFLOP/s', 'peak']),
    ...profileLines(profile, LISTED).map((each) => row(each.name, each.op, profileFigures(each))),
  ];
}

/** With the threads and the batch where a network was verified with several. */
function verificationLines(rows: readonly VerificationRow[]): readonly string[] {
  const several = (key: 'threads' | 'batch') => new Set(rows.map((row) => row[key])).size > 1;
  const [hasThreads, hasBatches] = [several('threads'), several('batch')];
  return rows.map((row) => verificationLine(row, hasThreads, hasBatches));
}

function verificationLine(row: VerificationRow, hasThreads: boolean, hasBatches: boolean): string {
  const { engine, form, verdict, tiers, threads, batch } = row;
  const compared = tiers.reduce((sum, tier) => sum + tier.compared, 0);
  const open = tiers.filter((tier) => tier.verdict !== 'pass').map((tier) => `${tier.tier}: ${tier.verdict}`);
  const details = [`${grouped(compared)} elements compared`, ...open].join('; ');
  const where = [
    `${form} on ${engine}`,
    ...(hasThreads ? [counted(threads, 'thread')] : []),
    ...(hasBatches ? [`batch ${batch}`] : []),
  ].join(', ');
  return wrap(`${verdict}, ${where}, ${details}`, '  verified: ', '    ');
}

function skippedLine(row: Skipped): string {
  return wrap(`${row.model} on ${engineText(row)}: ${row.reason}`, `${skippedTitle(row).toLowerCase()}: `, '  ');
}

function failureLine({ model, engine, stage, message }: Failure): string {
  return wrap(`${model}${engine === null ? '' : ` on ${engine}`}, ${stage}: ${message}`, '✗ ', '  ');
}

function modelBlock(report: Report, model: string): string {
  const here = <Row extends { readonly model: string }>(rows: readonly Row[]) =>
    rows.filter((row) => row.model === model);
  const timed = here(report.measurements);
  const each = <Value>(values: readonly Value[]) => [...new Set(values)].join(', ');
  const [sizes, batches] = [
    each(timed.map(({ resolution }) => size(resolution))),
    each(timed.map(({ batch }) => batch)),
  ];
  const title = timed.length === 0 ? model : `${model} at ${sizes}, batch ${batches}`;
  const speedups = here(report.speedups);
  const said = new Set<string>();
  return [
    title,
    ...(speedups.length === 0 ? ['  not timed'] : []),
    ...(['reference', 'reference-raw', 'deploy-official'] as const).flatMap((baseline) =>
      pairLines(report, speedups, baseline, said),
    ),
    ...throughputLines({ throughput: here(report.throughput) }).map(throughputText),
    ...here(report.profiles).flatMap(profileBlock),
    ...verificationLines(here(report.verification)),
    '',
  ].join('\n');
}

/** A benchmark's report as text for a terminal of 80 columns. */
export function benchTable(report: Report): string {
  const asides = [
    ...report.failures.map(failureLine),
    ...report.skipped.map(skippedLine),
    ...report.environment.absent.map(({ name, reason, fix }) => wrap(`${name}: ${reason}; ${fix}`, 'not here: ', '  ')),
  ];
  return [
    ...(report.partial ? ['Partial: the run was interrupted.', ''] : []),
    ...modelsOf(report).map((model) => modelBlock(report, model)),
    ...asides,
    ...(asides.length > 0 ? [''] : []),
    ...(report.speedups.length > 0 ? [wrap(HONEST_NOTE)] : []),
  ].join('\n');
}
