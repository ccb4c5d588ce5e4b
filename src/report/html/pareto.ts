/** Latency against published accuracy: which network is worth its time. */
import { engineText, milliseconds } from '../text.ts';
import type { AccuracyRow, Measurement } from '../types.ts';
import { details, figure, paragraph, type Section, table } from './elements.ts';
import { distinct, type Machine, type Of, rowsOf } from './machines.ts';
import { type Canvas, type Draw, seriesColour } from './plot.ts';

interface Point extends Of<Measurement> {
  readonly series: string;
  readonly accuracy: AccuracyRow;
}

/** Where several trainings were published, the best. */
function bestOf(accuracies: readonly AccuracyRow[], model: string): AccuracyRow | undefined {
  return accuracies
    .filter((row) => row.model === model)
    .reduce<AccuracyRow | undefined>(
      (best, row) => (best === undefined || row.top1 > best.top1 ? row : best),
      undefined,
    );
}

function describe(points: readonly Point[], series: readonly string[]) {
  return ({ plot, isNarrow }: Canvas) => {
    const deployed = points.filter(({ arm }) => arm === 'deploy');
    const links = deployed.flatMap((to) => {
      const from = points.find(
        (each) => each.arm === 'reference' && each.series === to.series && each.model === to.model,
      );
      return from === undefined
        ? []
        : [{ from: from.latencyMs, to: to.latencyMs, top1: to.accuracy.top1, series: to.series }];
    });
    const colour = ({ series: name }: { readonly series: string }) => seriesColour(series.indexOf(name));
    const times = points.map(({ latencyMs }) => latencyMs);
    const domain = [Math.min(...times) * 0.8, Math.max(...times) * 1.25];
    const tops = points.map(({ accuracy }) => accuracy.top1);
    return {
      height: isNarrow ? 320 : 380,
      marginLeft: 48,
      marginRight: isNarrow ? 16 : 90,
      marginTop: 28,
      marginBottom: 44,
      x: {
        type: 'log' as const,
        domain,
        grid: true,
        label: 'milliseconds an inference',
        tickFormat: (ms: number) => `${Number(ms.toPrecision(3))}`,
        ticks: isNarrow ? 4 : 8,
        labelAnchor: 'center' as const,
      },
      y: { grid: true, label: 'top-1 %', domain: [Math.min(...tops) - 1, Math.max(...tops) + 1], ticks: 6 },
      marks: [
        plot.link(links, { x1: 'from', x2: 'to', y1: 'top1', y2: 'top1', stroke: colour, strokeOpacity: 0.6 }),
        plot.dot(
          points.filter(({ arm }) => arm === 'reference'),
          {
            x: 'latencyMs',
            y: (d: Point) => d.accuracy.top1,
            r: 4,
            stroke: colour,
            strokeWidth: 1.5,
            fill: 'var(--paper)',
            title: titleOf,
          },
        ),
        plot.dot(deployed, { x: 'latencyMs', y: (d: Point) => d.accuracy.top1, r: 5, fill: colour, title: titleOf }),
        ...(isNarrow && distinct(points.map(({ model }) => model)).length > 4
          ? []
          : [
              plot.text(deployed, {
                x: 'latencyMs',
                y: (d: Point) => d.accuracy.top1,
                text: (d: Point) => d.model.replace(/^rep(vit|mlpnet)_/, ''),
                dy: -11,
                fontSize: 11,
              }),
            ]),
      ],
    };
  };
}

function titleOf({ model, arm, series, latencyMs, accuracy }: Point): string {
  return `${model}, ${arm}, ${series}: ${milliseconds(latencyMs)} ms, ${accuracy.top1} %`;
}

/** Undefined where nothing that was timed has a published accuracy. */
export function paretoSection(machines: readonly Machine[], draw: Draw): Section | undefined {
  const accuracies = machines.flatMap(({ report }) => report.accuracies ?? []);
  const points = rowsOf(machines, ({ measurements }) => measurements).flatMap((row): Point[] => {
    const accuracy = bestOf(accuracies, row.model);
    if (accuracy === undefined || (row.arm !== 'reference' && row.arm !== 'deploy')) return [];
    return [
      { ...row, accuracy, series: machines.length > 1 ? `${engineText(row)} (${row.machine})` : engineText(row) },
    ];
  });
  if (points.length === 0) return undefined;
  const series = distinct(points.map((point) => point.series));
  const keys = [
    ...series.map((label, index) => ({ label, colour: seriesColour(index) })),
    { label: 'train form', colour: 'var(--soft)', mark: 'ring' as const },
    { label: 'deploy form', colour: 'var(--soft)' },
  ];
  const models = distinct(points.map(({ model }) => model));
  const summary = `Median latency on a log scale against published top-1 accuracy of ${models.join(', ')}; a line leads from the train form to the deploy form.`;
  return {
    id: 'pareto',
    title: 'Accuracy for time',
    html: [
      paragraph(
        'Accuracies are published ones on ImageNet-1k (the best where several trainings were published); nothing here measures them. Upper left is better.',
      ),
      figure(summary, draw(describe(points, series)), keys),
      details(
        'Table',
        table(
          'Latency and published accuracy',
          [
            { title: 'network' },
            { title: 'engine' },
            { title: 'form' },
            { title: 'ms', isNumber: true },
            { title: 'top-1 %', isNumber: true },
            { title: 'accuracy from' },
          ],
          points.map((point) => [
            point.model,
            point.series,
            point.arm,
            milliseconds(point.latencyMs),
            String(point.accuracy.top1),
            point.accuracy.source,
          ]),
        ),
      ),
    ].join('\n'),
  };
}
