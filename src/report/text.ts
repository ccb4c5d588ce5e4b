import type { Measurement, Report, Resolution, Skipped, Speedup } from './types.ts';

/** Words and figures that the terminal's table and the Markdown share. */

export function size(resolution: Resolution): string {
  const [height, width] = typeof resolution === 'number' ? [resolution, resolution] : resolution;
  return `${height}x${width}`;
}

/** Three significant figures, more before the point where there are more. */
export function milliseconds(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Rounded outwards, so that the interval printed holds the one computed. */
export function interval({ low, high }: Pick<Speedup, 'low' | 'high'>): string {
  if (low === null || high === null) return 'no interval';
  return `${(Math.floor(low * 1000) / 1000).toFixed(3)} to ${(Math.ceil(high * 1000) / 1000).toFixed(3)}`;
}

/** A setting that two rows have in common: the same network on the same engine in the same way. */
type Keys = Pick<Speedup, 'model' | 'engine' | 'threads' | 'batch'>;

export function isSameSetting(a: Keys, b: Keys): boolean {
  return a.model === b.model && a.engine === b.engine && a.threads === b.threads && a.batch === b.batch;
}

/** What was measured of one arm in a row's setting, or undefined where it was not timed. */
export function measured(
  { measurements }: Pick<Report, 'measurements'>,
  row: Keys,
  arm: Measurement['arm'],
): Measurement | undefined {
  return measurements.find((other) => other.arm === arm && isSameSetting(other, row));
}

/** What an interval says, in words. */
export function gainText({ outcome, estimate }: Pick<Speedup, 'outcome' | 'estimate'>): string {
  return outcome === 'faster' || outcome === 'slower' ? `${estimate.toFixed(2)} times as fast` : outcome;
}

/** Threads and batch, where they are not the usual 1. */
function settingText({ threads, batch }: { readonly threads: number; readonly batch: number }): string {
  return [...(threads === 1 ? [] : [`${threads} threads`]), ...(batch === 1 ? [] : [`batch ${batch}`])].join(', ');
}

/** Engine, and the setting where it is not the usual one. */
export function engineText(row: { readonly engine: string; readonly threads: number; readonly batch: number }): string {
  const setting = settingText(row);
  return setting === '' ? row.engine : `${row.engine}, ${setting}`;
}

/** What a setting lacks, as a heading. */
export function skippedTitle({ stage }: Skipped): 'Not timed' | 'No profile' {
  return stage === 'profile' ? 'No profile' : 'Not timed';
}

/** 1 session, 2 sessions */
export function counted(count: number, what: string): string {
  return `${grouped(count)} ${what}${count === 1 ? '' : 's'}`;
}

/** 4,294,967,295 */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** The models of a report, in its order. */
export function modelsOf({ verification, measurements, audit }: Report): readonly string[] {
  return [...new Set([...verification, ...measurements, ...audit].map(({ model }) => model))];
}

/** What every reader of the figures must know. */
export const HONEST_NOTE =
  'Each interval is over sessions, each a fresh process. Null: the deploy form loaded twice and timed against itself in the same sessions, where the truth is 1.';

/** Columns of the terminal that text is made for. */
const WIDTH = 80;

/** Breaks text at spaces to lines of 80 columns; `first` leads the first line, `rest` the others. */
export function wrap(text: string, first = '', rest = first): string {
  const lines: string[] = [];
  let line = first;
  let empty = true;
  for (const word of text.split(' ')) {
    if (!empty && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = rest;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...lines, line].join('\n');
}

/** Where the null controls strayed: what stands at the head of a report then; undefined where they did not. */
export function noiseText({ nullControls }: Report): string | undefined {
  const noisy = nullControls.filter((control) => control.noisy);
  if (noisy.length === 0) return undefined;
  const where = noisy.map(({ model, engine, strayed, sessions }) => {
    return `${model} on ${engine} (${strayed} of ${counted(sessions.length, 'session')})`;
  });
  return `Too noisy to be trusted: against itself the deploy form was off by more than 1 %, ${where.join(', ')}. Close other programs.`;
}

/** A p value as tables have it. */
export function pText(value: number | null): string {
  if (value === null) return '';
  return value < 0.001 ? '< 0.001' : value.toFixed(3);
}
