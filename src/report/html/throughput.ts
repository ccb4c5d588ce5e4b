/** Images a second with several streams at the same time. */
import { engineText } from '../text.ts';
import type { Throughput } from '../types.ts';
import { details, figure, paragraph, type Section, subheading, table } from './elements.ts';
import { distinct, type Machine, type Of, rowsOf } from './machines.ts';
import { type Canvas, type Draw, seriesColour } from './plot.ts';

interface Point extends Of<Throughput> {
  readonly series: string;
}

function describe(points: readonly Point[], series: readonly string[]) {
  return ({ plot, isNarrow }: Canvas) => {
    const colour = ({ series: name }: Point) => seriesColour(series.indexOf(name));
    return {
      height: isNarrow ? 240 : 280,
      marginLeft: 52,
      marginRight: 12,
      marginTop: 28,
      marginBottom: 38,
      x: {
        type: 'log' as const,
        base: 2,
        ticks: [...distinct(points.map(({ streams }) => streams))],
        tickFormat: (n: number) => `${n}`,
        label: 'streams',
        labelAnchor: 'center' as const,
      },
      y: { label: 'images a second', grid: true, zero: true, ticks: 5 },
      marks: [
        plot.line(points, { x: 'streams', y: 'imagesPerSecond', z: 'series', stroke: colour }),
        plot.dot(points, {
          x: 'streams',
          y: 'imagesPerSecond',
          fill: colour,
          r: 4,
          title: (d: Point) => `${d.series}, ${d.streams} streams: ${d.imagesPerSecond.toFixed(1)} images/s`,
        }),
      ],
    };
  };
}

/** Undefined where no streams were run. */
export function throughputSection(machines: readonly Machine[], draw: Draw): Section | undefined {
  const rows = rowsOf(machines, ({ throughput }) => throughput);
  if (rows.length === 0) return undefined;
  const points = rows.map(
    (row): Point => ({
      ...row,
      series: `${engineText(row)}, ${row.arm}${machines.length > 1 ? ` (${row.machine})` : ''}`,
    }),
  );
  const blocks = distinct(points.map(({ model }) => model)).map((model) => {
    const own = points.filter((point) => point.model === model);
    const series = distinct(own.map((point) => point.series));
    const keys = series.map((label, index) => ({ label, colour: seriesColour(index) }));
    return [
      subheading(model),
      figure(`${model}: images a second against streams at the same time.`, draw(describe(own, series)), keys),
      details(
        'Table',
        table(
          `${model}: throughput and latency`,
          [
            { title: 'engine, form' },
            ...['streams', 'images/s', 'median ms', '95 % ms'].map((title) => ({ title, isNumber: true })),
          ],
          own.map((row) => [
            row.series,
            String(row.streams),
            row.imagesPerSecond.toFixed(1),
            row.latencyMs.toFixed(2),
            row.p95Ms.toFixed(2),
          ]),
        ),
      ),
    ].join('\n');
  });
  return {
    id: 'throughput',
    title: 'Throughput',
    html: [
      paragraph('Several streams of inferences at the same time, each with a network of its own.'),
      ...blocks,
    ].join('\n'),
  };
}
