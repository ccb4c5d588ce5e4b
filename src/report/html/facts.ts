/** Verification, and the environment of each machine. */

import { absentFacts, environmentFacts } from '../environment-facts.ts';
import { engineText, grouped } from '../text.ts';
import type { VerificationRow } from '../types.ts';
import { type Cell, details, paragraph, type Section, table } from './elements.ts';
import { distinct, type Machine, rowsOf } from './machines.ts';

const CLASSES: Readonly<Record<VerificationRow['verdict'], string>> = {
  pass: 'good',
  fail: 'bad',
  inconclusive: 'unclear',
  'nothing compared': 'unclear',
};

export function verificationSection(machines: readonly Machine[]): Section {
  const rows = rowsOf(machines, ({ verification }) => verification);
  const many = machines.length > 1;
  const machineColumn = many ? [{ title: 'machine' }] : [];
  const machineCell = (machine: string) => (many ? [machine] : []);
  const total = rows.reduce((sum, { tiers }) => sum + tiers.reduce((own, { compared }) => own + compared, 0), 0);
  const passed = rows.filter(({ verdict }) => verdict === 'pass').length;
  return {
    id: 'verification',
    title: 'What was proved',
    html: [
      paragraph(
        `${passed} of ${rows.length} deploy forms on their engines pass: ${grouped(total)} elements were compared, region by region, on the very weights that were timed.`,
      ),
      table(
        'Verdicts',
        [
          { title: 'network' },
          ...machineColumn,
          { title: 'engine' },
          { title: 'form' },
          { title: 'verdict' },
          { title: 'worst error / bound', isNumber: true },
        ],
        rows.map((row): Cell[] => [
          row.model,
          ...machineCell(row.machine),
          engineText(row),
          row.form,
          { text: row.verdict, className: CLASSES[row.verdict] },
          Math.max(0, ...row.tiers.map(({ worst }) => worst ?? 0)).toPrecision(2),
        ]),
      ),
      details(
        'Tiers',
        table(
          'Each question and its answer',
          [
            { title: 'network' },
            ...machineColumn,
            { title: 'engine' },
            { title: 'form' },
            { title: 'tier' },
            { title: 'verdict' },
            { title: 'compared', isNumber: true },
            { title: 'worst', isNumber: true },
          ],
          rows.flatMap((row) =>
            row.tiers.map(({ tier, verdict, compared, worst }): Cell[] => [
              row.model,
              ...machineCell(row.machine),
              engineText(row),
              row.form,
              tier,
              { text: verdict, className: CLASSES[verdict] },
              grouped(compared),
              worst === null ? '' : worst.toPrecision(2),
            ]),
          ),
        ),
      ),
    ].join('\n'),
  };
}

export function environmentSection(machines: readonly Machine[]): Section {
  const facts = machines.map(
    ({ report }) => new Map([...environmentFacts(report.environment), ...absentFacts(report.environment)]),
  );
  const names = distinct(facts.flatMap((each) => [...each.keys()]));
  return {
    id: 'environment',
    title: 'Environment',
    html: table(
      'Where, when and with what',
      [{ title: 'what' }, ...machines.map(({ label }) => ({ title: machines.length > 1 ? label : 'value' }))],
      names.map((name) => [name, ...facts.map((each) => each.get(name) ?? '')]),
    ),
  };
}
