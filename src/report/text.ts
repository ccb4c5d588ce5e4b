import type { Measurement, Report, Resolution, Speedup } from './types.ts';

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

export type Outcome = 'faster' | 'slower' | 'no difference shown' | 'not resolved';

/** An interval of a lower level decides nothing. */
const DECIDING_LEVEL = 0.95;

/** What the interval says about the arm. */
export function outcome({ low, high, confidence }: Pick<Speedup, 'low' | 'high' | 'confidence'>): Outcome {
  if (confidence < DECIDING_LEVEL) return 'not resolved';
  if (low > 1) return 'faster';
  return high < 1 ? 'slower' : 'no difference shown';
}

/** What was measured of one side of a pair, or undefined where it was not timed. */
export function measured(
  { measurements }: Pick<Report, 'measurements'>,
  row: Speedup,
  role: 'baseline' | 'arm',
): Measurement | undefined {
  const [arm, against] = role === 'arm' ? [row.arm, row.baseline] : [row.baseline, row.arm];
  return measurements.find(
    (each) => each.model === row.model && each.engine === row.engine && each.arm === arm && each.against === against,
  );
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
  'One session for each model, engine and pair of forms: its interval covers the noise within the session, not the drift between processes, so it is narrower than it should be. A second run may differ by more.';

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
