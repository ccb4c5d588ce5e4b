/** Parameters, MACs and activations of every form. */
import { grouped } from '../text.ts';
import type { AuditRow } from '../types.ts';
import { details, figure, paragraph, type Section, subheading, table } from './elements.ts';
import { distinct, type Machine } from './machines.ts';
import { type Canvas, type Draw, seriesColour } from './plot.ts';

const QUANTITIES = [
  ['parameters', 'parameters'],
  ['MACs', 'macs'],
  ['activations', 'activations'],
  ['operations', 'nodes'],
] as const;

interface Bar {
  readonly quantity: string;
  readonly form: string;
  readonly count: number;
  /** Of the form as trained. */
  readonly share: number;
}

function formName({ form, heads }: AuditRow): string {
  return form === 'train' ? `train, ${heads} head${heads === 1 ? '' : 's'}` : form;
}

/** 5.07 M */
export function short(count: number): string {
  const [unit, divisor] = count >= 1e9 ? ['G', 1e9] : count >= 1e6 ? ['M', 1e6] : count >= 1e3 ? ['k', 1e3] : ['', 1];
  const value = count / (divisor as number);
  return `${unit === '' ? count : value.toPrecision(3)}${unit === '' ? '' : ` ${unit}`}`;
}

function bars(rows: readonly AuditRow[]): readonly Bar[] {
  return QUANTITIES.flatMap(([quantity, key]) =>
    rows.map((row) => ({ quantity, form: formName(row), count: row[key], share: row[key] / rows[0]![key] })),
  );
}

/** -7.7 % */
function change(share: number): string {
  const percent = 100 * (share - 1);
  return percent === 0 ? '' : ` (${percent > 0 ? '+' : ''}${percent.toFixed(Math.abs(percent) < 1 ? 2 : 1)} %)`;
}

function describe(rows: readonly Bar[], forms: readonly string[]) {
  return ({ plot, isNarrow }: Canvas) => ({
    height: 24 + QUANTITIES.length * (forms.length * (isNarrow ? 34 : 20) + 26),
    marginLeft: isNarrow ? 4 : 128,
    marginRight: isNarrow ? 4 : 150,
    marginTop: 6,
    marginBottom: 12,
    x: { domain: [0, Math.max(1, ...rows.map(({ share }) => share))], axis: null },
    y: {
      domain: [...forms],
      axis: isNarrow ? null : ('left' as const),
      tickSize: 0,
      label: null,
      padding: isNarrow ? 0.62 : 0.25,
    },
    fy: { domain: QUANTITIES.map(([name]) => name), axis: null, padding: 0.22 },
    marks: [
      plot.barX(rows, {
        x: 'share',
        y: 'form',
        fy: 'quantity',
        fill: (d: Bar) => seriesColour(forms.indexOf(d.form)),
        title: (d: Bar) => `${d.quantity}, ${d.form}: ${grouped(d.count)}${change(d.share)}`,
      }),
      plot.text(
        QUANTITIES.map(([quantity]) => ({ quantity, form: forms[0]! })),
        {
          text: 'quantity',
          fy: 'quantity',
          frameAnchor: 'top-left',
          dy: -14,
          dx: isNarrow ? 0 : -120,
          fontWeight: 600,
        },
      ),
      isNarrow
        ? plot.text(rows, {
            x: () => 0,
            y: 'form',
            fy: 'quantity',
            text: (d: Bar) => `${d.form}: ${short(d.count)}${change(d.share)}`,
            textAnchor: 'start',
            dy: -13,
          })
        : plot.text(rows, {
            x: 'share',
            y: 'form',
            fy: 'quantity',
            text: (d: Bar) => `${short(d.count)}${change(d.share)}`,
            textAnchor: 'start',
            dx: 6,
          }),
    ],
  });
}

export function countSection(machines: readonly Machine[], draw: Draw): Section {
  // Counts are exact: every machine gives the same.
  const byKey = new Map(
    machines.flatMap(({ report }) =>
      report.audit.map((row) => [`${row.model}/${row.form}/${row.heads}/${row.resolution}`, row] as const),
    ),
  );
  const rows = [...byKey.values()];
  const blocks = distinct(rows.map(({ model }) => model)).map((model) => {
    const own = rows.filter((row) => row.model === model);
    const all = bars(own);
    const forms = distinct(all.map(({ form }) => form));
    const [first, last] = [own[0]!, own.at(-1)!];
    const summary = `${model}: from ${formName(first)} to ${formName(last)}, ${QUANTITIES.map(
      ([name, key]) => `${grouped(first[key])} to ${grouped(last[key])} ${name}`,
    ).join(', ')}.`;
    return [
      subheading(model),
      figure(summary, draw(describe(all, forms)), []),
      details(
        'Table',
        table(
          `${model}: exact counts for one image`,
          [
            { title: 'form' },
            ...['parameters', 'buffers', 'MACs', 'activations', 'ONNX initialisers', 'bytes', 'operations'].map(
              (title) => ({ title, isNumber: true }),
            ),
          ],
          own.map((row) => [
            formName(row),
            ...[
              row.parameters,
              row.buffers,
              row.macs,
              row.activations,
              row.initialisers,
              row.weightBytes,
              row.nodes,
            ].map(grouped),
          ]),
        ),
      ),
    ].join('\n');
  });
  return {
    id: 'counts',
    title: 'Size of each form',
    html: [
      paragraph(
        'Exact counts for one image, as bars relative to the network as trained. MACs: multiply-accumulates of convolutions and linear layers. Activations: elements that these put out.',
      ),
      ...blocks,
    ].join('\n'),
  };
}
