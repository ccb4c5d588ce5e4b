/** How near each region comes to its derived bound. */
import { engineText } from '../text.ts';
import type { VerificationRow } from '../types.ts';
import { type Cell, details, figure, paragraph, type Section, subheading, table } from './elements.ts';
import { distinct, type Machine, type Of, rowsOf } from './machines.ts';
import { type Canvas, type Draw, seriesColour } from './plot.ts';

interface Point {
  readonly region: string;
  /** Place in the network. */
  readonly place: number;
  readonly series: string;
  /** What its colour tells: where it was computed. */
  readonly where: string;
  readonly isTrain: boolean;
  readonly error: number;
  readonly bound: number;
  /** Error over bound; an error of 0 is drawn at the foot. */
  readonly ratio: number;
}

/** Where an error of 0 is drawn: below whatever else there is. */
const FOOT = 1e-6;

/** `algebra` concerns no engine. */
function whereOf(row: Of<VerificationRow>, tier: string, many: boolean): string {
  const machine = many ? ` (${row.machine})` : '';
  return `${tier === 'algebra' ? 'float64, before rounding' : engineText(row)}${machine}`;
}

function pointsOf(rows: readonly Of<VerificationRow>[], many: boolean): readonly Point[] {
  const points = new Map<string, Point>();
  for (const row of rows) {
    for (const { tier, regions = [] } of row.tiers) {
      const where = whereOf(row, tier, many);
      // Nodes that fusing leaves alone, `runtime, both`, stand with the deploy form.
      const isTrain = tier === 'runtime, reference';
      const series = tier === 'algebra' ? where : `${where}, ${isTrain ? 'train form' : 'deploy form'}`;
      for (const { region, place, error, bound } of regions) {
        const ratio = error === 0 ? 0 : error / bound;
        points.set(`${series}/${region}`, {
          region,
          place,
          series,
          where,
          isTrain,
          error,
          bound,
          ratio,
        });
      }
    }
  }
  return [...points.values()].sort((a, b) => a.place - b.place);
}

function describe(points: readonly Point[], wheres: readonly string[]) {
  return ({ plot, isNarrow }: Canvas) => {
    const colour = (d: Point) => seriesColour(wheres.indexOf(d.where));
    const drawn = (d: Point) => Math.max(FOOT, Math.min(d.ratio, 1e6));
    const highest = Math.max(3, ...points.map((d) => 3 * drawn(d)));
    return {
      height: isNarrow ? 300 : 340,
      marginLeft: 56,
      marginRight: 12,
      marginTop: 28,
      marginBottom: 38,
      x: {
        label: 'region, from input to logits',
        labelAnchor: 'center' as const,
        ticks: isNarrow ? 4 : 10,
        tickFormat: (n: number) => `${n}`,
      },
      y: {
        type: 'log' as const,
        domain: [FOOT / 2, highest],
        grid: true,
        ticks: isNarrow ? 5 : 8,
        tickFormat: (y: number) => (y < FOOT * 1.01 ? '0' : y >= 0.01 ? `${y}` : y.toExponential(0)),
        label: 'error / bound',
      },
      marks: [
        plot.ruleY([1], { stroke: 'var(--bad)', strokeWidth: 2 }),
        ...[true, false].map((isTrain) =>
          plot.dot(
            points.filter((point) => point.isTrain === isTrain),
            {
              x: (d: Point) => d.place + 1,
              y: drawn,
              r: isNarrow ? 2 : 3,
              ...(isTrain ? { stroke: colour, strokeWidth: 1.2 } : { fill: colour, fillOpacity: 0.75 }),
              title: (d: Point) =>
                `${d.region}, ${d.series}: error ${d.error.toExponential(2)}, bound ${d.bound.toExponential(2)}`,
            },
          ),
        ),
      ],
    };
  };
}

/** One table: a row for each region, and for each series its error, its bound and their ratio. */
function regionTable(title: string, points: readonly Point[], series: readonly string[]): string {
  const regions = distinct(points.map(({ region }) => region));
  const byKey = new Map(points.map((point) => [`${point.series}/${point.region}`, point]));
  return table(
    `${title}: error, bound and error over bound of each region`,
    [{ title: 'region' }, ...series.map((name) => ({ title: name, isNumber: true }))],
    regions.map((region): Cell[] => [
      region,
      ...series.map((name): Cell => {
        const point = byKey.get(`${name}/${region}`);
        if (point === undefined) return '';
        const text = `${point.error.toExponential(1)} of ${point.bound.toExponential(1)} (${point.ratio === 0 ? '0' : point.ratio.toPrecision(2)})`;
        return point.ratio > 1 ? { text, className: 'bad' } : text;
      }),
    ]),
  );
}

/** Undefined where no report says anything of its regions. */
export function errorSection(machines: readonly Machine[], draw: Draw): Section | undefined {
  const rows = rowsOf(machines, ({ verification }) => verification);
  const blocks = distinct(rows.map(({ model, form }) => `${model}, ${form}`)).flatMap((title) => {
    const points = pointsOf(
      rows.filter(({ model, form }) => `${model}, ${form}` === title),
      machines.length > 1,
    );
    if (points.length === 0) return [];
    const series = distinct(points.map((point) => point.series));
    const wheres = distinct(points.map(({ where }) => where));
    const worst = points.reduce((most, point) => (point.ratio > most.ratio ? point : most));
    const summary = `${title}: ${distinct(points.map(({ region }) => region)).length} regions. The largest error is ${worst.ratio.toPrecision(2)} of its bound, in ${worst.region} (${worst.series}).`;
    const keys = [
      ...wheres.map((label, index) => ({ label, colour: seriesColour(index) })),
      { label: 'train form', colour: 'var(--soft)', mark: 'ring' as const },
      { label: 'deploy form', colour: 'var(--soft)' },
      { label: 'the bound', colour: 'var(--bad)', mark: 'line' as const },
    ];
    return [
      subheading(title),
      figure(summary, draw(describe(points, wheres)), keys),
      details('Table', regionTable(title, points, series)),
    ];
  });
  if (blocks.length === 0) return undefined;
  return {
    id: 'errors',
    title: 'Error against bound',
    html: [
      paragraph(
        'Each region by itself, on a log scale: the error of its worst element over what rounding alone can make of it. Above 1 something other than rounding is at work. An error of 0 stands at the foot.',
      ),
      ...blocks,
    ].join('\n'),
  };
}
