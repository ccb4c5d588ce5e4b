import { grouped, milliseconds, size } from './text.ts';
import type { Report, Throughput } from './types.ts';

/** One form of a network in one setting, as boards' tables have it: alone, and with as many streams as give the most. */
export interface ThroughputLine {
  readonly alone: Throughput;
  readonly best: Throughput;
  readonly all: readonly Throughput[];
}

/** The rows of a report's throughput, one for each form in each setting. */
export function throughputLines({ throughput }: Pick<Report, 'throughput'>): readonly ThroughputLine[] {
  const groups = new Map<string, Throughput[]>();
  for (const row of throughput) {
    const key = JSON.stringify([row.model, row.engine, row.threads, row.batch, row.arm]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((all) => ({
    alone: all.reduce((least, row) => (row.streams < least.streams ? row : least)),
    best: all.reduce((most, row) => (row.imagesPerSecond > most.imagesPerSecond ? row : most)),
    all,
  }));
}

/** 12.3, or 123 */
export function perSecond(images: number): string {
  return images >= 100 ? images.toFixed(0) : images.toPrecision(3);
}

/** Millions, as model cards print them. */
function millions(count: number | undefined): string {
  return count === undefined ? '' : (count / 1e6).toFixed(1);
}

export type ThroughputCells = readonly (readonly [title: string, align: 'left' | 'right', cell: string])[];

/** The cells of each line: size, classes and parameters as boards' tables have them, then every number of streams. */
export function throughputCells(report: Report): readonly ThroughputCells[] {
  const counts = [...new Set(report.throughput.map(({ streams }) => streams))].sort((a, b) => a - b);
  return throughputLines(report).map(({ alone, all, best }) => {
    const network = report.networks.find(({ model }) => model === alone.model);
    const form = alone.arm === 'reference' ? 'train' : alone.arm;
    const audit = report.audit.find((row) => row.model === alone.model && row.form === form && row.heads === 1);
    const [top1] = (report.accuracies ?? [])
      .filter(({ model }) => model === alone.model)
      .sort((a, b) => b.top1 - a.top1);
    return [
      ['model', 'left', alone.model],
      ['form', 'left', alone.arm],
      ['engine', 'left', alone.engine],
      ['size', 'right', size(alone.resolution)],
      ['classes', 'right', network === undefined ? '' : grouped(network.classes)],
      ['parameters (M)', 'right', millions(audit?.parameters)],
      ['published top-1', 'right', top1 === undefined ? '' : `${top1.top1} %`],
      ['batch', 'right', String(alone.batch)],
      ['threads', 'right', String(alone.threads)],
      ...counts.map((count) => {
        const row = all.find(({ streams }) => streams === count);
        const cell = row === undefined ? '' : `${milliseconds(row.latencyMs)} / ${perSecond(row.imagesPerSecond)}`;
        return [`${count} stream${count === 1 ? '' : 's'}`, 'right', cell] as const;
      }),
      ['most images/s', 'right', perSecond(best.imagesPerSecond)],
    ];
  });
}
