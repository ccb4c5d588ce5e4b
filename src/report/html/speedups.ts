/** How many times as fast fusing makes each network on each engine. */
import { engineText, interval, isSameSetting, measured, milliseconds, pText, size } from '../text.ts';
import type { NullControl, Report, Speedup } from '../types.ts';
import { type Cell, type Column, details, figure, paragraph, type Section, subheading, table } from './elements.ts';
import { distinct, type Machine, type Of, rowsOf } from './machines.ts';
import { type Canvas, type Draw, HALO, rowAxis } from './plot.ts';

const COLOURS: Readonly<Record<Speedup['outcome'], string>> = {
  faster: 'var(--good)',
  slower: 'var(--bad)',
  'no difference shown': 'var(--soft)',
  inconclusive: 'var(--unclear)',
};
const CLASSES: Readonly<Record<Speedup['outcome'], string>> = {
  faster: 'good',
  slower: 'bad',
  'no difference shown': '',
  inconclusive: 'unclear',
};

interface Row extends Of<Speedup> {
  readonly key: string;
  readonly name: string;
  readonly control: NullControl | undefined;
}

/** Against what the deploy form is held, in words. */
const BASELINES: Readonly<Record<Speedup['baseline'], string>> = {
  'reference-raw': 'train form, engine not optimising',
  reference: 'train form',
  'deploy-official': "the original's deploy form",
  deploy: 'deploy form',
};

function chartRows(machines: readonly Machine[]): readonly Row[] {
  const controls = rowsOf(machines, ({ nullControls }) => nullControls);
  const rows = rowsOf(machines, ({ speedups }) => speedups);
  // The same on all machines stands together.
  const places = distinct(rows.map((row) => `${row.model}/${engineText(row)}/${row.baseline}/${row.arm}`));
  const place = (row: Speedup) => places.indexOf(`${row.model}/${engineText(row)}/${row.baseline}/${row.arm}`);
  return [...rows]
    .sort((a, b) => place(a) - place(b))
    .map((row, index) => {
      const where = machines.length > 1 ? ` (${row.machine})` : '';
      return {
        ...row,
        key: String(index),
        name: `${engineText(row)}${where} / ${BASELINES[row.baseline]}`,
        control: controls.find((each) => each.machine === row.machine && isSameSetting(each, row)),
      };
    });
}

function describe(rows: readonly Row[], domain: readonly [number, number]) {
  return ({ plot, width, isNarrow }: Canvas) => {
    const longest = Math.max(...rows.map(({ name }) => name.length));
    const bounded = rows.filter(
      (row): row is Row & { low: number; high: number } => row.low !== null && row.high !== null,
    );
    const banded = rows.flatMap(({ key, control }) =>
      control?.low == null || control.high === null ? [] : [{ key, low: control.low, high: control.high }],
    );
    const clamp = (value: number) => Math.min(domain[1], Math.max(domain[0], value));
    const colour = (row: Row) => COLOURS[row.outcome];
    return {
      height: 46 + rows.length * (isNarrow ? 42 : 28),
      marginLeft: isNarrow ? 8 : Math.min(400, 16 + 6.6 * longest),
      marginRight: isNarrow ? 12 : 60,
      marginTop: isNarrow ? 26 : 16,
      marginBottom: 30,
      x: {
        type: 'log' as const,
        domain: [...domain],
        grid: true,
        ticks: ticksOf(domain, width),
        tickFormat: (x: number) => `${x}`,
        label: null,
      },
      y: rowAxis(rows, isNarrow),
      marks: [
        plot.ruleX([1], { stroke: 'var(--ink)', strokeWidth: 1.5 }),
        plot.link(banded, {
          x1: (d) => clamp(d.low),
          x2: (d) => clamp(d.high),
          y1: 'key',
          y2: 'key',
          stroke: 'var(--soft)',
          strokeOpacity: 0.3,
          strokeWidth: 11,
        }),
        plot.link(bounded, {
          x1: (d) => clamp(d.low),
          x2: (d) => clamp(d.high),
          y1: 'key',
          y2: 'key',
          stroke: (d) => colour(d),
          strokeWidth: 2.5,
        }),
        // An interval that goes on beyond the chart ends in an arrow.
        plot.text(
          bounded.filter(({ low }) => low < domain[0]),
          { x: () => domain[0], y: 'key', text: () => '◂', fill: (d) => colour(d) },
        ),
        plot.text(
          bounded.filter(({ high }) => high > domain[1]),
          { x: () => domain[1], y: 'key', text: () => '▸', fill: (d) => colour(d) },
        ),
        plot.dot(rows, {
          x: (d) => clamp(d.estimate),
          y: 'key',
          r: 5,
          fill: (d) => colour(d),
          stroke: 'var(--paper)',
          title: (d) => `${d.model}, ${d.name}: ${d.estimate.toFixed(3)} (${interval(d)})`,
        }),
        isNarrow
          ? plot.text(rows, {
              x: () => domain[0],
              y: 'key',
              text: (d) => `${d.name}: ${d.estimate.toFixed(2)}`,
              textAnchor: 'start',
              dy: -15,
              ...HALO,
            })
          : plot.text(rows, {
              x: () => domain[1],
              y: 'key',
              text: (d) => d.estimate.toFixed(2),
              textAnchor: 'start',
              dx: 14,
              fontVariant: 'tabular-nums',
            }),
      ],
    };
  };
}

/** Ratios that are easy to read, as many as there is room for. */
function ticksOf([low, high]: readonly [number, number], width: number): number[] {
  const fine = [0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 16];
  const inside = fine.filter((tick) => tick >= low && tick <= high);
  const room = Math.floor(width / 75);
  if (inside.length <= room) return inside;
  return [0.25, 0.5, 1, 2, 4, 8, 16].filter((tick) => tick >= low && tick <= high);
}

/** From a little below the smallest to a little above the largest, with 1 in it; wild intervals are cut at a quarter and at 16. */
function domainOf(rows: readonly Row[]): readonly [number, number] {
  const values = rows.flatMap(({ estimate, low, high, control }) => [
    estimate,
    low ?? 1,
    high ?? 1,
    control?.low ?? 1,
    control?.high ?? 1,
  ]);
  return [Math.max(0.25, Math.min(0.95, ...values) * 0.97), Math.min(16, Math.max(1.1, ...values) * 1.03)];
}

function timingText(report: Report, row: Speedup, arm: Speedup['arm']): string {
  const found = measured(report, row, arm);
  return found === undefined ? '' : milliseconds(found.latencyMs);
}

const COLUMNS: readonly Column[] = [
  { title: 'engine' },
  { title: 'against' },
  { title: 'before ms', isNumber: true },
  { title: 'deploy ms', isNumber: true },
  { title: 'times as fast', isNumber: true },
  { title: '95 % interval', isNumber: true },
  { title: 'outcome' },
  { title: 'p (Holm)', isNumber: true },
  { title: 'null control', isNumber: true },
  { title: 'sessions', isNumber: true },
];

/** One table for each model; with several machines, a column each. */
function modelTable(machines: readonly Machine[], model: string, rows: readonly Row[]): string {
  const own = rows.filter((row) => row.model === model);
  if (machines.length > 1) return machinesTable(machines, model, own);
  const { report } = machines[0]!;
  return table(
    `${model}: what was timed`,
    COLUMNS,
    own.map((row): Cell[] => [
      engineText(row),
      BASELINES[row.baseline],
      timingText(report, row, row.baseline),
      timingText(report, row, row.arm),
      row.estimate.toFixed(3),
      interval(row),
      { text: row.outcome, className: CLASSES[row.outcome] },
      pText(row.pHolm),
      row.control === undefined
        ? ''
        : `${row.control.estimate.toFixed(4)} (${interval(row.control)})${row.control.noisy ? ', noisy' : ''}`,
      String(row.sessions.length),
    ]),
  );
}

function machinesTable(machines: readonly Machine[], model: string, own: readonly Row[]): string {
  // A network at two sizes is two things to time.
  const isOneSize = distinct(own.map(({ resolution }) => size(resolution))).length === 1;
  const at = (row: Row) => (isOneSize ? '' : ` at ${size(row.resolution)}`);
  const nameOf = (row: Row) => `${engineText(row)}${at(row)} / ${BASELINES[row.baseline]}`;
  return table(
    `${model}: times as fast, and the 95 % interval, on each machine`,
    [{ title: 'engine / against' }, ...machines.map(({ label }) => ({ title: label, isNumber: true }))],
    distinct(own.map(nameOf)).map((name): Cell[] => [
      name,
      ...machines.map(({ label }): Cell => {
        const row = own.find((each) => each.machine === label && nameOf(each) === name);
        return row === undefined
          ? '-'
          : { text: `${row.estimate.toFixed(3)} (${interval(row)})`, className: CLASSES[row.outcome] };
      }),
    ]),
  );
}

/** Over all networks of a run: the geometric mean of their ratios. */
function suiteTable(machines: readonly Machine[]): string {
  const rows = rowsOf(machines, ({ suites }) => suites);
  if (rows.length === 0) return '';
  const many = machines.length > 1;
  return table(
    'Over all networks: geometric mean of the ratios',
    [
      { title: 'engine' },
      ...(many ? [{ title: 'machine' }] : []),
      { title: 'against' },
      { title: 'times as fast', isNumber: true },
      { title: '95 % interval', isNumber: true },
      { title: 'networks' },
    ],
    rows.map((row): Cell[] => [
      engineText(row),
      ...(many ? [row.machine] : []),
      BASELINES[row.baseline],
      row.estimate.toFixed(3),
      interval(row),
      row.models.join(', '),
    ]),
  );
}

function summaryOf(model: string, rows: readonly Row[]): string {
  const said = rows.map(({ name, estimate, outcome }) => `${estimate.toFixed(2)} on ${name} (${outcome})`);
  return `${model}: latency before over latency of the deploy form, with its 95 % interval. ${said.join('; ')}.`;
}

export function speedupSection(machines: readonly Machine[], draw: Draw): Section {
  const rows = chartRows(machines);
  const models = distinct(rows.map(({ model }) => model));
  const domain = domainOf(rows);
  const notes = rows.filter(({ note }) => note !== '').map(({ model, name, note }) => `${model}, ${name}: ${note}.`);
  const charts = models.map((model) => {
    const own = rows.filter((row) => row.model === model);
    return [
      subheading(model),
      figure(summaryOf(model, own), draw(describe(own, domain)), [], ''),
      details('Table', modelTable(machines, model, rows)),
    ].join('\n');
  });
  const keys = `<ul class="legend">${Object.entries(COLOURS)
    .map(([label, colour]) => `<li><span class="key" style="--key:${colour}" aria-hidden="true"></span>${label}</li>`)
    .join(
      '',
    )}<li><span class="key band" style="--key:var(--soft)" aria-hidden="true"></span>null control: the deploy form against itself</li></ul>`;
  return {
    id: 'speed',
    title: 'What fusing buys',
    html:
      rows.length === 0
        ? paragraph('Nothing was timed.')
        : [
            paragraph(
              'How many times as fast the deploy form runs, from sessions in fresh processes. Right of 1 it is faster. An interval that holds 1 shows no difference; one of fewer than 5 sessions, or that reaches more than 1 % to either side, is inconclusive.',
            ),
            keys,
            ...charts,
            suiteTable(machines),
            ...(notes.length === 0 ? [] : [details('Notes', notes.map(paragraph).join('\n'))]),
          ].join('\n'),
  };
}
