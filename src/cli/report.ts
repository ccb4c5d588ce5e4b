import { Command } from 'commander';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

interface Options {
  readonly out: string;
  readonly name: string;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  fuseproof report laptop.json server.json --out reports
  fuseproof report shards/*/latest.json
  fuseproof faults --json > faults.json
  fuseproof report reports/latest.json faults.json

Exit codes: as the worst of the reports: 0 pass, 1 fail, 3 inconclusive; 2 bad input.`;

async function runReport(files: readonly string[], { out, name, json }: Options): Promise<void> {
  const [{ parseReportFile }, { mergeReports }, { readWholeFile }, { InputError }, { basename }] = await Promise.all([
    import('../report/validate.ts'),
    import('../report/merge.ts'),
    import('../weights/read-file.ts'),
    import('../network/errors.ts'),
    import('node:path'),
  ]);
  if (name !== basename(name) || ['', '.', '..'].includes(name)) {
    throw new InputError(`--name ${name}: it names files, so give it no folder; that is --out`);
  }
  const needed = 'the latest.json of fuseproof bench';
  const paths = [...new Set(files)];
  const read = await Promise.all(
    paths.map(async (file) => ({
      file,
      content: await parseReportFile((await readWholeFile(file, needed)).toString('utf8'), file),
    })),
  );
  const reports = read.flatMap(({ file, content }) =>
    content.kind === 'report' ? [{ file, report: content.report }] : [],
  );
  const matrices = read.flatMap(({ content }) => (content.kind === 'kill matrix' ? [content.matrix] : []));
  if (reports.length === 0) throw new InputError(`no report among ${paths.join(', ')}; give ${needed}, too`);
  if (matrices.length > 1) throw new InputError(`${matrices.length} kill matrices; give one`);
  const machines = mergeReports(reports, matrices[0]);
  const [{ htmlReport }, { mergedMarkdown }, { openReportFolder, writeAll, appendJobSummary }] = await Promise.all([
    import('../report/html/page.ts'),
    import('../report/markdown.ts'),
    import('../bench/write-report.ts'),
  ]);
  await openReportFolder(out);
  const markdown = mergedMarkdown(machines);
  const written = await writeAll(out, { [`${name}.html`]: await htmlReport(machines), [`${name}.md`]: markdown });
  await appendJobSummary(markdown);
  if (json) printJson(machines);
  else
    for (const { label, report } of machines) print(`${label}: ${report.verdict}${report.partial ? ', partial' : ''}`);
  note(`Written: ${written.join(', ')}`);
  for (const { report } of machines) setExitCode(exitCodeOf(report.verdict));
}

/** `fuseproof report` */
export function reportCommand(): Command {
  return new Command('report')
    .description('put reports of several machines, or of the shards of one run, and a kill matrix on one page')
    .argument('<files...>', "bench's latest.json files, and at most one that faults --json printed")
    .option('-o, --out <folder>', 'where the page goes', 'reports')
    .option('--name <name>', 'name of the files, without .html and .md', 'merged')
    .option('--json', 'print the merged reports as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runReport);
}
