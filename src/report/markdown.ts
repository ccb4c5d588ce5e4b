import { environmentFacts } from './environment-facts.ts';
import type { Machine } from './html/machines.ts';
import { profileFigures, profileLines } from './profile-table.ts';
import {
  counted,
  engineText,
  gainText,
  grouped,
  HONEST_NOTE,
  interval,
  isSameSetting,
  measured,
  milliseconds,
  modelsOf,
  noiseText,
  pText,
  size,
  skippedTitle,
} from './text.ts';
import { throughputCells } from './throughput-table.ts';
import type { AuditRow, Profile, Report, Speedup, TierRow } from './types.ts';

/** A cell's text cannot end its cell. */
function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

/** Names and messages may come from a file of somebody else's: what would begin a tag is shown as it stands. */
function withoutTags(markdown: string): string {
  return markdown.replace(/<(?=[a-z/!?])/gi, '&lt;');
}

/** An item of a list: a line break in it would end the list. */
function item(text: string): string {
  return `- ${text.replaceAll(/\s*\n\s*/g, ' ')}`;
}

/** A table with its columns aligned as given: left or right. */
function table(
  columns: readonly (readonly [title: string, align: 'left' | 'right'])[],
  rows: readonly string[][],
): string {
  const row = (cells: readonly string[]) => `| ${cells.map(escapeCell).join(' | ')} |`;
  return [
    row(columns.map(([title]) => title)),
    `|${columns.map(([, align]) => (align === 'left' ? '---' : '---:')).join('|')}|`,
    ...rows.map(row),
  ].join('\n');
}

/** One sentence's part about one pair of forms on one engine. */
function gain(row: Speedup): string {
  const differs = row.outcome === 'faster' || row.outcome === 'slower';
  const other = row.baseline === 'reference' ? '' : ` ${differs ? 'as' : 'against'} ${row.baseline}`;
  return `${gainText(row)}${other} on ${row.engine}`;
}

function headline(report: Report): string {
  const sentences = modelsOf(report).map((model) => {
    const timed = report.speedups.filter((row) => row.model === model);
    if (timed.length === 0) return `- ${model}: not timed`;
    return `- ${model}, fused: ${timed.map(gain).join(', ')}`;
  });
  const partial = report.partial ? ' Partial: the run was interrupted.' : '';
  const noise = noiseText(report);
  const warning = noise === undefined ? [] : ['', `**${noise}**`];
  return [`**Verdict: ${report.verdict}.**${partial} What fusing bought:`, '', ...sentences, ...warning].join('\n');
}

function timingRow(report: Report, row: Speedup): string[] {
  const [baseline, arm] = [measured(report, row, row.baseline), measured(report, row, row.arm)];
  const control = report.nullControls.find((each) => isSameSetting(each, row));
  return [
    row.model,
    row.engine,
    size(row.resolution),
    String(row.batch),
    String(row.threads),
    row.baseline,
    row.arm,
    baseline === undefined ? '' : milliseconds(baseline.latencyMs),
    arm === undefined ? '' : milliseconds(arm.latencyMs),
    row.estimate.toFixed(3),
    interval(row),
    row.outcome,
    pText(row.pHolm),
    String(row.sessions.length),
    control === undefined
      ? ''
      : `${control.estimate.toFixed(4)} (${interval(control)})${control.noisy ? ', noisy' : ''}`,
  ];
}

function latencySection(report: Report): string {
  if (report.speedups.length === 0) return 'Nothing was timed.';
  const notes = report.speedups
    .filter(({ note }) => note !== '')
    .map(({ model, engine, baseline, arm, note }) =>
      item(`${model} on ${engine}, ${arm} against ${baseline}: ${note}.`),
    );
  const rows = report.speedups.map((row) => timingRow(report, row));
  return [
    "Median milliseconds of one inference, read-back of the logits included. Reference is the train-time network as the engine optimises it, reference-raw the same with the engine's own graph optimisation off, deploy-official what the original's own conversion leaves, deploy the network with everything folded.",
    '',
    table(
      [
        ['model', 'left'],
        ['engine', 'left'],
        ['size', 'right'],
        ['batch', 'right'],
        ['threads', 'right'],
        ['baseline', 'left'],
        ['arm', 'left'],
        ['baseline ms', 'right'],
        ['arm ms', 'right'],
        ['baseline / arm', 'right'],
        ['95 % interval', 'right'],
        ['outcome', 'left'],
        ['p (Holm)', 'right'],
        ['sessions', 'right'],
        ['null control', 'right'],
      ],
      rows,
    ),
    '',
    ...notes,
    ...(notes.length > 0 ? [''] : []),
    HONEST_NOTE,
    '',
    `Method: ${report.speedups[0]?.method}. The logits of every timed sample were compared, bit for bit, with those that were verified.`,
  ].join('\n');
}

/** The table of the boards' model zoos: latency alone, and images per second with several streams. */
function throughputSection(report: Report): string {
  const lines = throughputCells(report);
  const columns = (lines[0] ?? []).map(([title, align]) => [title, align] as const);
  const rows = lines.map((line) => line.map(([, , cell]) => cell));
  return `Median milliseconds of one inference / images per second, by the number of streams: processes that infer one after another at the same time.\n\n${table(columns, rows)}`;
}

function profileText(profile: Profile): string {
  const { model, engine, arm, threads, batch, totalMs, inferences, peakGflops } = profile;
  const peak =
    peakGflops === null
      ? ''
      : ` Peak: ${peakGflops.toFixed(0)} GFLOP/s, a large matrix product on ONNX Runtime with as many threads.`;
  const rows = profileLines(profile).map((line) => [line.name, line.op, ...profileFigures(line)]);
  return [
    `**${model}, ${arm} on ${engine}**, ${counted(threads, 'thread')}, batch ${batch}: ${milliseconds(totalMs)} ms, each step the median of ${inferences} inferences.${peak}`,
    '',
    table(
      [
        ['node', 'left'],
        ['op', 'left'],
        ['ms', 'right'],
        ['share', 'right'],
        ['GFLOP/s', 'right'],
        ['of peak', 'right'],
      ],
      rows,
    ),
  ].join('\n');
}

/** Each figure once, however many sources print it. */
function published({ published: fits }: AuditRow): string {
  return [...new Set(fits.map(({ printed, unit, kind }) => `${printed}${unit && ` ${unit}`} ${kind}`))].join(', ');
}

function auditSection({ audit }: Report): string {
  const rows = table(
    [
      ['model', 'left'],
      ['form', 'left'],
      ['heads', 'right'],
      ['size', 'right'],
      ['parameters', 'right'],
      ['MACs', 'right'],
      ['activations', 'right'],
      ['published figures that fit', 'left'],
    ],
    audit.map((row) => [
      row.model,
      row.form,
      String(row.heads),
      size(row.resolution),
      grouped(row.parameters),
      grouped(row.macs),
      grouped(row.activations),
      published(row),
    ]),
  );
  return `For one image. ${'`fuseproof audit`'} names the source of each figure, and those that fit no form.\n\n${rows}`;
}

function tierCells({ tier, verdict, compared, worst }: TierRow): string[] {
  return [tier, verdict, grouped(compared), worst === null ? '' : worst.toPrecision(2)];
}

function verificationSection({ verification }: Report): string {
  return table(
    [
      ['model', 'left'],
      ['engine', 'left'],
      ['form', 'left'],
      ['tier', 'left'],
      ['verdict', 'left'],
      ['elements compared', 'right'],
      ['worst error / bound', 'right'],
    ],
    verification.flatMap(({ model, engine, form, verdict, tiers }) => [
      [model, engine, form, 'all', verdict, grouped(tiers.reduce((sum, { compared }) => sum + compared, 0)), ''],
      ...tiers.map((tier) => [model, engine, form, ...tierCells(tier)]),
    ]),
  );
}

function environmentSection({ environment }: Report): string {
  return table(
    [
      ['what', 'left'],
      ['value', 'left'],
    ],
    environmentFacts(environment).map((fact) => [...fact]),
  );
}

function section(title: string, body: string): string {
  return `## ${title}\n\n${body}\n`;
}

/** A benchmark's report as GitHub-flavoured Markdown. */
export function benchMarkdown(report: Report): string {
  const { absent } = report.environment;
  const failures = report.failures.map(({ model, engine, stage, message }) =>
    item(`${model}${engine === null ? '' : ` on ${engine}`}, ${stage}: ${message}`),
  );
  const skipped = (['Not timed', 'No profile'] as const).flatMap((title) => {
    const own = report.skipped.filter((row) => skippedTitle(row) === title);
    const items = own.map((row) => item(`${row.model} on ${engineText(row)}: ${row.reason}`));
    return items.length === 0 ? [] : [section(title, items.join('\n'))];
  });
  const parts = [
    '# fuseproof benchmark\n',
    `${headline(report)}\n`,
    ...(failures.length === 0 ? [] : [section('What went wrong', failures.join('\n'))]),
    section('Latency', latencySection(report)),
    ...(report.throughput.length === 0 ? [] : [section('Throughput', throughputSection(report))]),
    ...(report.profiles.length === 0
      ? []
      : [section('Where the time goes', report.profiles.map(profileText).join('\n\n'))]),
    ...skipped,
    section('Counts', auditSection(report)),
    section('Verification', verificationSection(report)),
    section('Environment', environmentSection(report)),
    section(
      'Engines that are not here',
      absent.length === 0
        ? 'None is missing of those asked for.'
        : absent.map(({ name, reason, fix }) => item(`${name}: ${reason}; ${fix}`)).join('\n'),
    ),
  ];
  return withoutTags(parts.join('\n'));
}

/** Several machines, a column each, and then the report of each by itself. */
export function mergedMarkdown(machines: readonly Machine[]): string {
  const [only] = machines;
  if (only !== undefined && machines.length === 1) return benchMarkdown(only.report);
  const keyOf = (row: Speedup) => {
    const { model, engine, resolution, threads, batch, baseline, arm } = row;
    return [model, engine, size(resolution), `${threads}`, `${batch}`, baseline, arm];
  };
  const keys = [
    ...new Map(machines.flatMap(({ report }) => report.speedups.map((row) => [keyOf(row).join('\n'), keyOf(row)]))),
  ];
  const rows = keys.map(([key, cells]) => [
    ...cells,
    ...machines.map(({ report }) => {
      const row = report.speedups.find((each) => keyOf(each).join('\n') === key);
      return row === undefined ? '' : `${row.estimate.toFixed(3)} (${interval(row)}), ${row.outcome}`;
    }),
  ]);
  const titles = ['model', 'engine', 'size', 'threads', 'batch', 'baseline', 'arm'].map(
    (title) => [title, 'left'] as const,
  );
  const overview = [
    '# fuseproof benchmark on several machines\n',
    ...machines.map(({ label, report }) => item(`${label}: **${report.verdict}**${report.partial ? ', partial' : ''}`)),
    '',
    table([...titles, ...machines.map(({ label }) => [label, 'right'] as const)], rows),
    '',
  ];
  const each = machines.map(({ label, report }) => {
    return `<details><summary>${withoutTags(label)}</summary>\n\n${benchMarkdown(report)}\n\n</details>\n`;
  });
  return [withoutTags(overview.join('\n')), ...each].join('\n');
}
