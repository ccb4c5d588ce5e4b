import type { Report, Resolution, Speedup } from './types.ts';

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
  return `${(Math.floor(low * 1000) / 1000).toFixed(3)} to ${(Math.ceil(high * 1000) / 1000).toFixed(3)}`;
}

/** What the interval says about the deploy form. */
export function outcome({ low, high }: Pick<Speedup, 'low' | 'high'>): 'faster' | 'slower' | 'no difference shown' {
  if (low > 1) return 'faster';
  return high < 1 ? 'slower' : 'no difference shown';
}

/** Median latency of one form, or undefined where it was not timed. */
export function latency(
  { measurements }: Pick<Report, 'measurements'>,
  { model, engine }: Pick<Speedup, 'model' | 'engine'>,
  arm: 'reference' | 'deploy',
): number | undefined {
  return measurements.find((row) => row.model === model && row.engine === engine && row.arm === arm)?.latencyMs;
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
  'One session for each model and engine: its interval covers the noise within the session, not the drift between processes, so it is narrower than it should be. A second run may differ by more.';

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
