/** Published figures against what is counted. */
import { grouped } from '../text.ts';
import type { FigureRow } from '../types.ts';
import { type Cell, details, figure, paragraph, type Section, subheading, table } from './elements.ts';
import { distinct, type Machine } from './machines.ts';
import { type Canvas, type Draw, HALO, rowAxis } from './plot.ts';

type Standing = 'is what it seems' | 'describes another form' | 'fits no form';

const COLOURS: Readonly<Record<Standing, string>> = {
  'is what it seems': 'var(--good)',
  'describes another form': 'var(--unclear)',
  'fits no form': 'var(--bad)',
};
const CLASSES: Readonly<Record<Standing, string>> = {
  'is what it seems': 'good',
  'describes another form': 'unclear',
  'fits no form': 'bad',
};

interface Row extends FigureRow {
  readonly key: string;
  readonly name: string;
  readonly standing: Standing;
  /** Published over counted, less 1, in per cent. */
  readonly off: number;
}

function standingOf({ fits, assumed, assumedCount }: FigureRow): Standing {
  if (fits.length === 0) return 'fits no form';
  return fits.some(({ form, count }) => form === assumed && count === assumedCount)
    ? 'is what it seems'
    : 'describes another form';
}

function printedText({ printed, unit, kind }: FigureRow): string {
  return `${unit === '' ? grouped(Number(printed)) : `${printed} ${unit}`} ${kind === 'macs' ? 'MACs' : kind}`;
}

function describe(rows: readonly Row[], reach: number) {
  return ({ plot, isNarrow }: Canvas) => {
    const colour = (d: Row) => COLOURS[d.standing];
    const percent = (d: Row) => `${d.off > 0 ? '+' : ''}${d.off.toFixed(Math.abs(d.off) < 1 ? 2 : 1)} %`;
    return {
      height: 50 + rows.length * (isNarrow ? 52 : 22),
      marginLeft: isNarrow ? 8 : 16 + 6.9 * Math.max(...rows.map(({ name }) => name.length)),
      marginRight: isNarrow ? 12 : 70,
      marginTop: isNarrow ? 36 : 10,
      marginBottom: 36,
      x: {
        domain: [-reach, reach],
        grid: true,
        ticks: isNarrow ? 4 : 6,
        tickFormat: (x: number) => `${x} %`,
        label: null,
      },
      y: rowAxis(rows, isNarrow),
      marks: [
        plot.ruleX([0], { stroke: 'var(--ink)', strokeWidth: 1.5 }),
        plot.link(rows, { x1: () => 0, x2: 'off', y1: 'key', y2: 'key', stroke: colour, strokeWidth: 2 }),
        plot.dot(rows, { x: 'off', y: 'key', r: 4.5, fill: colour, title: (d: Row) => `${d.name}: ${d.standing}` }),
        isNarrow
          ? plot.text(rows, {
              x: () => -reach,
              y: 'key',
              text: (d: Row) =>
                `${d.source.length > 46 ? `${d.source.slice(0, 45)}…` : d.source}\n${printedText(d)}: ${percent(d)}`,
              textAnchor: 'start',
              dy: -22,
              ...HALO,
            })
          : plot.text(rows, {
              x: () => reach,
              y: 'key',
              text: percent,
              textAnchor: 'start',
              dx: 10,
              fontVariant: 'tabular-nums',
            }),
      ],
    };
  };
}

function fitText({ form, counting, count }: FigureRow['nearest']): string {
  const how =
    counting === 'fvcore' ? ', as fvcore counts' : counting === 'macsWithNorms' ? ', batch norms counted too' : '';
  return `${form}${how} (${grouped(count)})`;
}

/** Undefined where nothing was published of these networks. */
export function figureSection(machines: readonly Machine[], draw: Draw): Section | undefined {
  const found = new Map(
    machines.flatMap(({ report }) =>
      (report.figures ?? []).map((row) => [`${row.model}/${row.source}/${row.kind}/${row.printed}`, row] as const),
    ),
  );
  const rows = [...found].map(
    ([key, row]): Row => ({
      ...row,
      key,
      name: `${row.source}: ${printedText(row)}`,
      standing: standingOf(row),
      off: 100 * (row.value / row.assumedCount - 1),
    }),
  );
  if (rows.length === 0) return undefined;
  const reach = Math.ceil(Math.max(1, ...rows.map(({ off }) => Math.abs(off))) * 1.05);
  const blocks = distinct(rows.map(({ model }) => model)).map((model) => {
    const own = rows.filter((row) => row.model === model);
    const right = own.filter(({ standing }) => standing === 'is what it seems').length;
    const summary = `${model}: published over counted, in per cent. ${right} of ${own.length} published figures are what they seem.`;
    return [
      subheading(model),
      figure(summary, draw(describe(own, reach)), []),
      details(
        'Table',
        table(
          `${model}: published figures`,
          [
            { title: 'source' },
            { title: 'printed', isNumber: true },
            { title: 'taken for' },
            { title: 'which has', isNumber: true },
            { title: 'verdict' },
            { title: 'fits, or is nearest to' },
          ],
          own.map((row): Cell[] => [
            row.source,
            printedText(row),
            row.assumed,
            grouped(row.assumedCount),
            { text: row.standing, className: CLASSES[row.standing] },
            (row.fits.length === 0 ? [row.nearest] : row.fits).map(fitText).join('; '),
          ]),
        ),
      ),
    ].join('\n');
  });
  const keys = (Object.keys(COLOURS) as Standing[]).map(
    (label) => `<li><span class="key" style="--key:${COLOURS[label]}" aria-hidden="true"></span>${label}</li>`,
  );
  return {
    id: 'figures',
    title: 'Published figures against counted ones',
    html: [
      paragraph(
        'How far each published figure lies from the exact count of the form that a reader takes it for, rounding included.',
      ),
      `<ul class="legend">${keys.join('')}</ul>`,
      ...blocks,
    ].join('\n'),
  };
}
