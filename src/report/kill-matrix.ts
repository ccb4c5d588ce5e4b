import type { CleanRow, FaultRow, KillMatrix, Kills } from '../verify/faults/kill-matrix.ts';
import type { Tier } from '../verify/verify.ts';
import { wrap } from './text.ts';

type Report = KillMatrix & { readonly seconds: number };

/** Tier, heading and width of each column. */
const COLUMNS: readonly (readonly [tier: Tier, heading: string, width: number])[] = [
  ['structure', 'struct', 7],
  ['exact', 'exact', 6],
  ['basis', 'basis', 7],
  ['weights', 'weights', 8],
  ['algebra', 'algebra', 8],
  ['dyadic', 'dyadic', 7],
  ['runtime', 'runtime', 8],
];
const NAME_WIDTH = 22;
const INIT_WIDTH = 7;

/** Faults up to which each is told in full. */
const FEW = 3;
/** Survivors and alarms shown of each kind. */
const SHOWN = 5;

const LEGEND =
  'A number: decades from the bound to the fault, on the draw where they are fewest. x: seen, where there is no distance to a bound. *: its nature calls for this tier, and these are the draws that count. In parentheses: not on every draw. -: not seen. Blank: not asked. init: whether a check of the logits (rtol 1e-4, atol 1e-5) on freshly initialised weights would see it; n/m: hidden on n of m networks.';

function cell(kills: Kills | undefined): string {
  if (kills === undefined) return '';
  const { isCalledFor, draws, killed, margin } = kills;
  if (killed === 0) return isCalledFor ? '-*' : '-';
  const text = margin === null ? 'x' : margin.toFixed(1);
  return `${killed < draws ? `(${text})` : text}${isCalledFor ? '*' : ''}`;
}

function initially({ hidden, of }: FaultRow['defaultInit']): string {
  if (of === 0) return '';
  if (hidden === 0) return 'seen';
  return hidden === of ? 'hidden' : `${hidden}/${of}`;
}

function faultLine({ id, tiers, defaultInit }: FaultRow): string {
  const cells = COLUMNS.map(([tier, , width]) => cell(tiers[tier]).padStart(width));
  return `${id.padEnd(NAME_WIDTH)}${cells.join('')}${initially(defaultInit).padStart(INIT_WIDTH)}`.trimEnd();
}

function heading(group: string): string {
  const titles = COLUMNS.map(([, title, width]) => title.padStart(width));
  // A long name of a group takes a line of its own.
  const first = group.length < NAME_WIDTH ? group.padEnd(NAME_WIDTH) : `${group}\n${''.padEnd(NAME_WIDTH)}`;
  return `${first}${titles.join('')}${'init'.padStart(INIT_WIDTH)}`;
}

function details({ id, title, source, places, subjects, draws, redraws }: FaultRow): string[] {
  return [
    wrap(`${id}: ${title}`, '', '  '),
    wrap(`seen: ${source}`, '  ', '    '),
    wrap(`planted in: ${places.join(', ')}`, '  ', '    '),
    wrap(`on: ${subjects.join('; ')}`, '  ', '    '),
    `  ${draws} draws, and ${redraws} on which it changed nothing`,
  ];
}

function survivorLines({ id, draws, survivors }: FaultRow): string[] {
  if (draws === 0) return [wrap(`survived: ${id} changed nothing on any subject`, '', '  ')];
  const lines = survivors.slice(0, SHOWN).flatMap(({ place, subject, engine, seed, missedBy }) => {
    const where = [subject, engine].filter((part) => part !== undefined).join(', ');
    const on = engine === undefined ? '' : ` --engine ${engine}`;
    return [
      wrap(`survived: ${id} in ${place} on ${where}: not seen by ${missedBy.join(', ')}`, '', '  '),
      `  npx fuseproof faults --fault ${id}${on} --seed ${seed} --draws 1`,
    ];
  });
  const more = survivors.length - SHOWN;
  return more > 0 ? [...lines, `  and ${more} more draws; --json lists all`] : lines;
}

function cleanLines(rows: readonly CleanRow[]): string[] {
  return [
    `${'without a fault'.padEnd(NAME_WIDTH)}${'runs'.padStart(7)}  ${'verdict'.padEnd(18)}${'headroom'.padStart(9)}`,
    ...rows.map(({ tier, runs, verdict, headroom }) =>
      `  ${tier.padEnd(NAME_WIDTH - 2)}${String(runs).padStart(7)}  ${verdict.padEnd(18)}${room(headroom).padStart(9)}`.trimEnd(),
    ),
    ...rows.flatMap(({ tier, alarms }) =>
      alarms.slice(0, SHOWN).map((alarm) => wrap(`false alarm: ${tier} on ${alarm}`, '  ', '    ')),
    ),
  ];
}

/** Bound over the largest clean error. */
function room(headroom: number | null): string {
  if (headroom === null) return '';
  return Number.isFinite(headroom) ? `${headroom.toPrecision(3)} x` : 'no error';
}

/** The smallest margin of a tier that the fault's nature calls for. */
function closest(faults: readonly FaultRow[]): string[] {
  const kills = faults.flatMap(({ id, tiers }) =>
    COLUMNS.flatMap(([tier]) => {
      const { isCalledFor = false, margin = null } = tiers[tier] ?? {};
      return isCalledFor && margin !== null ? [{ margin, what: `${id} by ${tier}` }] : [];
    }),
  );
  const [least] = kills.sort((a, b) => a.margin - b.margin);
  return least === undefined
    ? []
    : [
        wrap(
          `closest kill that is called for: ${least.what}, ${least.margin.toFixed(1)} decades beyond the bound`,
          '',
          '  ',
        ),
      ];
}

/** The kill matrix as text for a terminal of 80 columns. */
export function killMatrixTable(report: Report): string {
  const { faults, killed, clean, notApplicable, draws, seed, engines, seconds } = report;
  const total = faults.reduce((sum, fault) => sum + fault.draws, 0);
  const redrawn = faults.reduce((sum, { redraws }) => sum + redraws, 0);
  const hidden = faults.filter(({ defaultInit: { hidden: count, of } }) => count > 0 && count === of).length;
  const groups = [...new Set(faults.map(({ group }) => group))];
  const on = engines.length === 0 ? '' : `; faults of an engine on ${engines.join(', ')}`;
  const lines = [
    wrap(
      `${total} draws of ${faults.length} faults, ${draws} for each place and network, from seed ${seed}; ${redrawn} more changed nothing and were drawn again${on}; ${seconds.toFixed(1)} s`,
      '',
      '  ',
    ),
    '',
  ];
  for (const group of groups) {
    lines.push(heading(group), ...faults.filter((fault) => fault.group === group).map(faultLine), '');
  }
  lines.push(wrap(LEGEND), '', ...cleanLines(clean), '');
  if (faults.length <= FEW) {
    for (const fault of faults) lines.push(...details(fault), '');
  } else {
    lines.push(
      'cannot be planted here',
      ...notApplicable.flatMap(({ id, title, reason }) => [wrap(`${id}: ${title}: ${reason}`, '  ', '    ')]),
      '',
    );
  }
  lines.push(
    ...faults.flatMap((fault) => (fault.killed ? [] : survivorLines(fault))),
    ...closest(faults),
    wrap(
      `hidden from a check of the logits on every freshly initialised network: ${hidden} of ${faults.length}`,
      '',
      '  ',
    ),
    `${killed} of ${faults.length} killed`,
  );
  return lines.join('\n');
}
