import { InvalidArgumentError } from 'commander';
import { MOST_THREADS } from '../engines/engine.ts';

/** What --weights and --deploy take, for help. */
export const CHECKPOINT = 'checkpoint (.pth, .pt, .safetensors, or a sharded one by its .index.json)';

/** Limits that keep a typo from exhausting the machine. */
const LARGEST = { threads: MOST_THREADS, streams: 256, batch: 4096, pixels: 16384, seed: 0xffffffff, draws: 1000 };

function parseWhole(text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  }
  return value;
}

export function parseThreads(text: string): number {
  return parseWhole(text, 1, LARGEST.threads);
}

export function parseStreams(text: string): number {
  return parseWhole(text, 1, LARGEST.streams);
}

export function parseBatch(text: string): number {
  return parseWhole(text, 1, LARGEST.batch);
}

export function parseSeed(text: string): number {
  return parseWhole(text, 0, LARGEST.seed);
}

export function parseDraws(text: string): number {
  return parseWhole(text, 1, LARGEST.draws);
}

export interface Size {
  readonly height: number;
  readonly width: number;
}

/** `224`, or `HEIGHTxWIDTH`, in pixels. */
export function parseSize(text: string): Size {
  const [height = '', width = height, ...rest] = text.split('x');
  if (rest.length > 0) throw new InvalidArgumentError('It must be one number, or HEIGHTxWIDTH.');
  return { height: parseWhole(height, 1, LARGEST.pixels), width: parseWhole(width, 1, LARGEST.pixels) };
}

/** For an option that may be given several times, or with commas between its values. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  const parts = text.split(',').map((part) => part.trim());
  if (parts.some((part) => part === ''))
    throw new InvalidArgumentError('It must be a name, or names with commas between.');
  return [...(before ?? []), ...parts];
}

/** For numbers that may be given several times, or with commas between them. */
export function each(
  parse: (text: string) => number,
): (text: string, before: readonly number[] | undefined) => number[] {
  return (text, before) => [...(before ?? []), ...collect(text, undefined).map(parse)];
}
