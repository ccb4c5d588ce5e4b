import { grouped, milliseconds } from './text.ts';
import type { Profile } from './types.ts';

/** Nodes that are listed one by one; the others are put together by what they compute. */
const LISTED = 15;

/** What is shown of a node, or of several together. */
export interface ProfileLine {
  readonly name: string;
  readonly op: string;
  readonly milliseconds: number;
  readonly share: number;
  readonly gflops: number | null;
  readonly peakShare: number | null;
}

/** The slowest nodes, then the rest by what they compute, slowest first. */
export function profileLines({ nodes, totalMs, peakGflops }: Profile, listed = LISTED): readonly ProfileLine[] {
  const sorted = [...nodes].sort((a, b) => b.milliseconds - a.milliseconds);
  const groups = new Map<string, Profile['nodes']>();
  for (const node of sorted.slice(listed)) groups.set(node.op, [...(groups.get(node.op) ?? []), node]);
  const rest = [...groups].map(([op, members]): ProfileLine => {
    const time = members.reduce((sum, node) => sum + node.milliseconds, 0);
    const macs = members.reduce((sum, node) => sum + (node.macs ?? 0), 0);
    const gflops = macs === 0 || time === 0 ? null : (2 * macs) / (time * 1e6);
    const peakShare = gflops === null || peakGflops === null ? null : gflops / peakGflops;
    const name = `${grouped(members.length)} more`;
    return { name, op, milliseconds: time, share: time / totalMs, gflops, peakShare };
  });
  return [...sorted.slice(0, listed), ...rest.sort((a, b) => b.milliseconds - a.milliseconds)];
}

/** A line's figures: milliseconds, share, GFLOP/s and share of the peak; empty where there is none. */
export function profileFigures(line: ProfileLine): readonly [string, string, string, string] {
  return [
    line.milliseconds < 0.001 ? '0' : milliseconds(line.milliseconds),
    `${(100 * line.share).toFixed(1)} %`,
    line.gflops === null ? '' : line.gflops.toPrecision(3),
    line.peakShare === null ? '' : `${(100 * line.peakShare).toFixed(0)} %`,
  ];
}
