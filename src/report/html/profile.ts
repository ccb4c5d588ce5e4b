/** Where the time goes, node by node, where it was profiled. */
import { engineText } from '../text.ts';
import type { Profile } from '../types.ts';
import { details, figure, type Key, paragraph, type Section, subheading, table } from './elements.ts';
import { distinct, type Machine, type Of, rowsOf } from './machines.ts';
import { type Canvas, type Draw, seriesColour } from './plot.ts';

/** Operations with a colour of their own; the rest is one. */
const NAMED = 5;

interface NodeRow {
  readonly index: number;
  readonly name: string;
  readonly group: string;
  readonly milliseconds: number;
}

/** The operations that take most of all profiles together, so that a colour means the same in each. */
function groupsOf(profiles: readonly Profile[]): readonly string[] {
  const totals = new Map<string, number>();
  for (const { nodes } of profiles) {
    for (const { op, share } of nodes) totals.set(op, (totals.get(op) ?? 0) + share);
  }
  const sorted = [...totals].sort(([, a], [, b]) => b - a).map(([op]) => op);
  return sorted.length > NAMED + 1 ? [...sorted.slice(0, NAMED), 'other'] : sorted;
}

function describe(rows: readonly NodeRow[], groups: readonly string[]) {
  return ({ plot, isNarrow }: Canvas) => ({
    height: isNarrow ? 220 : 260,
    marginLeft: 44,
    marginRight: 8,
    marginTop: 26,
    marginBottom: 34,
    x: {
      label: 'node, from input to logits',
      labelAnchor: 'center' as const,
      ticks: isNarrow ? 4 : 10,
      tickFormat: (n: number) => `${n}`,
    },
    y: { label: 'ms', grid: true, ticks: 5 },
    marks: [
      plot.rectY(rows, {
        x1: (d: NodeRow) => d.index + 0.5,
        x2: (d: NodeRow) => d.index + 1.5,
        y: 'milliseconds',
        fill: (d: NodeRow) => seriesColour(groups.indexOf(d.group)),
        inset: 0.2,
        title: (d: NodeRow) => `${d.name} (${d.group}): ${d.milliseconds.toFixed(3)} ms`,
      }),
      plot.ruleY([0], { stroke: 'var(--soft)' }),
    ],
  });
}

function block(profile: Of<Profile>, groups: readonly string[], draw: Draw, many: boolean): string {
  const groupOf = (op: string) => (groups.includes(op) ? op : 'other');
  const rows = profile.nodes.map(
    ({ name, op, milliseconds }, index): NodeRow => ({ index, name, group: groupOf(op), milliseconds }),
  );
  const share = (group: string) => {
    const sum = rows.filter((row) => row.group === group).reduce((total, row) => total + row.milliseconds, 0);
    return `${((100 * sum) / profile.totalMs).toFixed(1)} %`;
  };
  const keys = groups.map((group, index): Key => ({ label: `${group} ${share(group)}`, colour: seriesColour(index) }));
  const title = `${profile.model}, ${profile.arm}, ${engineText(profile)}${many ? ` (${profile.machine})` : ''}`;
  const [slowest] = [...profile.nodes].sort((a, b) => b.milliseconds - a.milliseconds);
  const summary = `${title}: ${profile.totalMs.toFixed(2)} ms over ${profile.nodes.length} nodes. ${keys.map(({ label }) => label).join(', ')}. Slowest: ${slowest?.name}, ${slowest?.milliseconds.toFixed(3)} ms.`;
  return [
    subheading(title),
    figure(summary, draw(describe(rows, groups)), keys),
    details(
      'Table',
      table(
        `${title}: every node in the order of execution`,
        [
          { title: 'node' },
          { title: 'operation' },
          ...['ms', 'share', 'MACs', 'GFLOP/s', 'of peak'].map((name) => ({ title: name, isNumber: true })),
        ],
        profile.nodes.map((node) => [
          node.name,
          node.op,
          node.milliseconds.toFixed(3),
          `${(100 * node.share).toFixed(1)} %`,
          node.macs === null ? '' : node.macs.toLocaleString('en-GB'),
          node.gflops === null ? '' : node.gflops.toFixed(1),
          node.peakShare === null ? '' : `${(100 * node.peakShare).toFixed(0)} %`,
        ]),
      ),
    ),
  ].join('\n');
}

/** Undefined where nothing was profiled. */
export function profileSection(machines: readonly Machine[], draw: Draw): Section | undefined {
  const profiles = rowsOf(machines, ({ profiles: rows }) => rows);
  if (profiles.length === 0) return undefined;
  const groups = groupsOf(profiles);
  const many = distinct(profiles.map(({ machine }) => machine)).length > 1;
  return {
    id: 'profile',
    title: 'Where the time goes',
    html: [
      paragraph(
        "Each node's median time, with the profiler's own cost, so their sum lies above the latency. Of peak: against a large matrix product on the same machine.",
      ),
      ...profiles.map((profile) => block(profile, groups, draw, many)),
    ].join('\n'),
  };
}
