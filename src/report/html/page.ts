/** A benchmark's report as one self-contained HTML file: no script, and nothing that is fetched. */
import { engineText, gainText, modelsOf, noiseText, skippedTitle } from '../text.ts';
import type { Report } from '../types.ts';
import { countSection } from './counts.ts';
import { escapeHtml, type Section, subheading } from './elements.ts';
import { errorSection } from './errors.ts';
import { environmentSection, verificationSection } from './facts.ts';
import { faultSection } from './faults.ts';
import { figureSection } from './figures.ts';
import type { Machine } from './machines.ts';
import { paretoSection } from './pareto.ts';
import { chartDrawer } from './plot.ts';
import { profileSection } from './profile.ts';
import { speedupSection } from './speedups.ts';
import { STYLE } from './style.ts';
import { throughputSection } from './throughput.ts';

const VERDICT_CLASSES: Readonly<Record<Report['verdict'], string>> = {
  pass: 'good',
  fail: 'bad',
  inconclusive: 'unclear',
};

function headline({ label, report }: Machine, isOnly: boolean): string {
  const rows = report.speedups.filter(({ baseline }) => baseline === 'reference');
  const sentences = modelsOf(report).map((model) => {
    const own = rows.filter((row) => row.model === model);
    const said = own.length === 0 ? 'not timed' : own.map((row) => `${gainText(row)} on ${engineText(row)}`).join(', ');
    return `<li><strong>${escapeHtml(model)}</strong>, fused: ${escapeHtml(said)}</li>`;
  });
  const failures = report.failures.map(
    ({ model, engine, stage, message }) =>
      `<li class="bad">${escapeHtml(`${model}${engine === null ? '' : ` on ${engine}`}, ${stage}: ${message}`)}</li>`,
  );
  const skipped = report.skipped.map(
    (row) =>
      `<li class="soft">${escapeHtml(`${skippedTitle(row)}: ${row.model} on ${engineText(row)}: ${row.reason}`)}</li>`,
  );
  const title = isOnly ? '' : subheading(label);
  const partial = report.partial ? ' <span class="verdict unclear">partial: the run was interrupted</span>' : '';
  const noise = noiseText(report);
  const warning = noise === undefined ? '' : `\n<p class="unclear">${escapeHtml(noise)}</p>`;
  return `${title}<p><span class="verdict ${VERDICT_CLASSES[report.verdict]}">${report.verdict}</span>${partial}</p>
<ul class="answers">${[...failures, ...sentences, ...skipped].join('\n')}</ul>${warning}`;
}

/**
 * The page of one report, or of several machines side by side. The same reports give the same bytes.
 * @param machines in the order of the columns; labels are distinct
 */
export async function htmlReport(machines: readonly Machine[]): Promise<string> {
  const [first] = machines;
  if (first === undefined) throw new Error('a page needs a report');
  const draw = await chartDrawer();
  const sections = [
    speedupSection(machines, draw),
    throughputSection(machines, draw),
    paretoSection(machines, draw),
    profileSection(machines, draw),
    countSection(machines, draw),
    figureSection(machines, draw),
    verificationSection(machines),
    errorSection(machines, draw),
    faultSection(machines),
    environmentSection(machines),
  ].filter((section): section is Section => section !== undefined);
  const { environment } = first.report;
  const where =
    machines.length === 1
      ? `${environment.cpu}, ${environment.date.slice(0, 10)}`
      : machines.map(({ label }) => label).join(' | ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fuseproof benchmark, ${escapeHtml(where)}</title>
<style>${STYLE}
</style>
</head>
<body>
<header>
<h1>What fusing bought</h1>
<p class="soft">${escapeHtml(where)}</p>
${machines.map((machine) => headline(machine, machines.length === 1)).join('\n')}
<nav aria-label="Sections"><ul>${sections.map(({ id, title }) => `<li><a href="#${id}">${escapeHtml(title)}</a></li>`).join('')}</ul></nav>
</header>
<main>
${sections.map(({ id, title, html }) => `<section aria-labelledby="${id}">\n<h2 id="${id}">${escapeHtml(title)}</h2>\n${html}\n</section>`).join('\n')}
</main>
<footer>fuseproof ${escapeHtml(environment.fuseproof)}${environment.commit === null ? '' : `, commit ${escapeHtml(environment.commit.slice(0, 12))}`}</footer>
</body>
</html>
`;
}
