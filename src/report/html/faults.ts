/** The kill matrix: which tier sees which planted mistake. */
import { counted } from '../text.ts';
import type { FaultReportRow, KillCell, KillMatrixReport } from '../types.ts';
import { escapeHtml, paragraph, type Section } from './elements.ts';
import { distinct, type Machine } from './machines.ts';

function cellHtml(kill: KillCell | undefined): string {
  if (kill === undefined) return '<td class="soft"></td>';
  const { calledFor, draws, killed, margin } = kill;
  const text = killed === 0 ? '-' : margin === null ? 'seen' : margin.toFixed(1);
  const shown = killed > 0 && killed < draws ? `(${text})` : text;
  const className = killed === 0 ? (calledFor ? 'bad' : 'soft') : calledFor ? 'good' : '';
  return `<td${className === '' ? '' : ` class="${className}"`}>${shown}${calledFor ? '<b title="called for">*</b>' : ''}</td>`;
}

function rowHtml(fault: FaultReportRow, tiers: readonly string[]): string {
  const cells = tiers.map((tier) => cellHtml(fault.kills.find((kill) => kill.tier === tier)));
  const verdict = fault.killed ? '<td class="good">killed</td>' : '<td class="bad">survived</td>';
  const hidden =
    fault.hidden === 'not asked' ? '' : fault.hidden === 'all' ? 'hidden' : fault.hidden === 'some' ? 'partly' : 'seen';
  return `<tr><th scope="row"><code>${escapeHtml(fault.id)}</code><span class="soft title">${escapeHtml(fault.title)}</span></th>${cells.join('')}<td class="soft">${hidden}</td>${verdict}</tr>`;
}

function matrixHtml({ tiers, faults, killed, seed, draws }: KillMatrixReport): string {
  const groups = distinct(faults.map(({ group }) => group));
  const width = tiers.length + 3;
  const body = groups.map((group) => {
    const rows = faults.filter((fault) => fault.group === group).map((fault) => rowHtml(fault, tiers));
    return `<tr class="group"><th colspan="${width}" scope="rowgroup">${escapeHtml(group)}</th></tr>\n${rows.join('\n')}`;
  });
  const titles = ['fault', ...tiers, 'fresh weights', 'verdict'].map(
    (title) => `<th scope="col">${escapeHtml(title)}</th>`,
  );
  return `${paragraph(`${killed} of ${faults.length} planted faults are killed by every tier that their nature calls for; ${counted(draws, 'draw')} of each place and network from seed ${seed}.`)}
<div class="scroll" role="region" tabindex="0" aria-label="Kill matrix"><table class="matrix"><caption>Decades from the bound to the fault; seen: there is no distance to a bound; *: called for; -: not seen; in parentheses: not on every draw; blank: not asked. Fresh weights: whether a check of the logits on freshly initialised weights sees it.</caption><thead><tr>${titles.join('')}</tr></thead><tbody>
${body.join('\n')}
</tbody></table></div>`;
}

/** The first matrix there is: it does not depend on the machine. */
export function faultSection(machines: readonly Machine[]): Section {
  const matrix = machines.flatMap(({ report }) => report.killMatrix ?? [])[0];
  return {
    id: 'faults',
    title: 'Planted faults',
    html:
      matrix === undefined
        ? '<p>Not in this report: <code>fuseproof faults --json &gt; faults.json</code> plants them, and <code>fuseproof report latest.json faults.json</code> shows them here.</p>'
        : `${paragraph('A check that cannot fail proves nothing: known mistakes are planted, and each tier is asked whether it sees them.')}\n${matrixHtml(matrix)}`,
  };
}
