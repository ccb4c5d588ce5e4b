/** A report in the XML that CI servers read as JUnit's. */
import type { GateResult } from './gate.ts';
import type { Report, VerificationRow } from './types.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};

/** Text for an attribute: XML 1.0 has no way to write most control characters. */
function escapeXml(text: string): string {
  const printable = [...text].filter((character) => character >= ' ' || '\n\t'.includes(character)).join('');
  return printable.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character).replaceAll('\n', '&#10;');
}

interface Case {
  readonly suite: string;
  readonly name: string;
  readonly outcome: 'pass' | 'fail' | 'error' | 'skipped';
  readonly message: string;
}

/** What did not pass is no pass: inconclusive is an error, not a skipped test. */
function verificationCase({ model, engine, threads, batch, form, verdict, tiers }: VerificationRow): Case {
  const open = tiers.filter((tier) => tier.verdict !== 'pass').map((tier) => `${tier.tier}: ${tier.verdict}`);
  const compared = tiers.reduce((sum, tier) => sum + tier.compared, 0);
  return {
    suite: `verification of ${model}`,
    name: `${form} on ${engine}, ${threads} threads, batch ${batch}`,
    outcome: verdict === 'pass' ? 'pass' : verdict === 'fail' ? 'fail' : 'error',
    message: open.length === 0 ? `${compared} elements compared` : open.join('; '),
  };
}

function casesOf(report: Report, gate: GateResult | undefined): readonly Case[] {
  return [
    ...report.verification.map(verificationCase),
    ...report.speedups.map(
      ({ model, engine, threads, batch, baseline, arm, estimate, outcome }): Case => ({
        suite: `timing of ${model}`,
        name: `${baseline} / ${arm} on ${engine}, ${threads} threads, batch ${batch}`,
        outcome: 'pass',
        message: `${estimate.toFixed(3)}, ${outcome}`,
      }),
    ),
    ...report.failures.map(
      ({ model, engine, stage, message }): Case => ({
        suite: `${stage} of ${model}`,
        name: engine ?? 'every engine',
        outcome: 'fail',
        message,
      }),
    ),
    ...report.skipped.map(
      ({ model, engine, threads, batch, reason, stage = 'timing' }): Case => ({
        suite: `${stage} of ${model}`,
        name: `${engine}, ${threads} threads, batch ${batch}`,
        outcome: 'skipped',
        message: reason,
      }),
    ),
    ...(gate?.judgements ?? []).map(
      ({ kind, verdict, subject, message }): Case => ({
        suite: `baseline, ${kind === 'ratio' ? 'ratios' : 'counts'}`,
        name: subject,
        outcome: verdict === 'fail' ? 'fail' : verdict === 'pass' ? 'pass' : 'skipped',
        message,
      }),
    ),
  ];
}

function caseXml({ suite, name, outcome, message }: Case): string {
  const open = `    <testcase classname="${escapeXml(suite)}" name="${escapeXml(name)}"`;
  const said = escapeXml(message);
  if (outcome === 'pass') return `${open}><system-out>${said}</system-out></testcase>`;
  const element = outcome === 'fail' ? 'failure' : outcome;
  return `${open}><${element} message="${said}"/></testcase>`;
}

function attributes(cases: readonly Case[]): string {
  const count = (outcome: Case['outcome']) => cases.filter((each) => each.outcome === outcome).length;
  return `tests="${cases.length}" failures="${count('fail')}" errors="${count('error')}" skipped="${count('skipped')}"`;
}

/** One suite for each network's verification and timing, and for the baseline where there is one. */
export function junitXml(report: Report, gate?: GateResult): string {
  const cases = casesOf(report, gate);
  const suites = [...new Set(cases.map(({ suite }) => suite))].map((suite) => {
    const own = cases.filter((each) => each.suite === suite);
    return [
      `  <testsuite name="${escapeXml(suite)}" ${attributes(own)} timestamp="${escapeXml(report.environment.date)}">`,
      ...own.map(caseXml),
      '  </testsuite>',
    ].join('\n');
  });
  return `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="fuseproof bench" ${attributes(cases)} time="${report.environment.elapsedSeconds.toFixed(3)}">
${suites.join('\n')}
</testsuites>
`;
}
