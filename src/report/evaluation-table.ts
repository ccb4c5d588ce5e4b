import type { Accuracy, Disagreement, FormName, Statistics } from '../evaluate/statistics.ts';
import { isNearTie } from '../evaluate/statistics.ts';
import { counted, grouped, wrap } from './text.ts';

/** What the table shows of an evaluation. */
export interface EvaluationReport extends Statistics {
  readonly model: string;
  readonly form: string;
  readonly engine: { readonly name: string };
  readonly data: string;
  readonly found: number;
  readonly classNames: readonly string[] | undefined;
  readonly classes: number;
  readonly input: readonly number[];
  readonly preprocessing: {
    readonly cropPct: number;
    readonly interpolation: string;
    readonly mean: readonly number[];
    readonly std: readonly number[];
  };
  readonly broken: readonly unknown[];
  readonly verdict: string;
}

/** Disagreements that are shown. */
const SHOWN = 20;

/** A file's name as it may stand in a terminal: control characters escaped. */
export function shown(name: string): string {
  return /[\p{Cc}\p{Cf}]/u.test(name)
    ? name.replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)
    : name;
}

function percent(count: number, of: number): string {
  return `${((100 * count) / of).toFixed(2)} %`;
}

/** Cut, not rounded: 49,999 of 50,000 are not 100.00 %. */
function percentCut(count: number, of: number): string {
  return `${(Math.floor((10000 * count) / of) / 100).toFixed(2)} %`;
}

export function evaluationTable(report: EvaluationReport, seconds: number): string {
  const { model, form, engine, data, images, found, classes, broken, preprocessing, input } = report;
  const [, , height = 0, width = 0] = input;
  const { cropPct, interpolation, mean, std } = preprocessing;
  const of = found === images + broken.length ? '' : ` of ${grouped(found)}, evenly spaced`;
  const lines = [
    wrap(
      `${model}, train and ${form} form, ${engine.name}: ${shown(data)}, ${counted(images, 'image')}${of}, ${grouped(classes)} classes, ${seconds.toFixed(1)} s`,
      '',
      '  ',
    ),
    wrap(
      `input ${height}x${width}: ${interpolation}, crop_pct ${cropPct}, centre crop; mean ${mean.join(' ')}, std ${std.join(' ')}`,
      '  ',
    ),
  ];
  if (report.accuracy !== undefined) {
    const row = (title: string, key: keyof Accuracy) => {
      const cell = (name: FormName) => {
        const right = report.accuracy![name][key];
        return percent(right, images).padStart(12) + grouped(right).padStart(10);
      };
      return `  ${title.padEnd(14)}${cell('train')}${cell('deploy')}`;
    };
    lines.push(
      `  ${''.padEnd(14)}${'train'.padStart(12)}${'images'.padStart(10)}${'deploy'.padStart(12)}${'images'.padStart(10)}`,
      row('top-1', 'top1'),
      row('top-5', 'top5'),
    );
    if (classes <= 5) lines.push(`  top-5 of ${counted(classes, 'class')} is every one of them`);
  } else lines.push('  no labels: accuracy is not known');
  lines.push(
    `  both forms name the same best class for ${grouped(report.agreeing)} of ${counted(images, 'image')}, ${percentCut(report.agreeing, images)}`,
    `  largest difference of a logit ${report.largestDifference.toPrecision(2)}, of logits up to ${report.largestLogit.toPrecision(3)}`,
  );
  for (const name of ['train', 'deploy'] as const) {
    const files = report.notFinite[name];
    if (files.length === 0) continue;
    lines.push(
      wrap(`${name} form: not every logit is finite for ${counted(files.length, 'image')}: ${shown(files[0]!)}`, '  '),
    );
  }
  lines.push(...disagreementLines(report));
  if (broken.length > 0)
    lines.push(`  ${counted(broken.length, 'image')} could not be used, and count in nothing above`);
  lines.push(`  ${verdictLine(report)}`);
  return lines.join('\n');
}

function disagreementLines({ disagreements, classNames }: EvaluationReport): string[] {
  if (disagreements.length === 0) return [];
  const name = (index: number) => (classNames === undefined ? `class ${index}` : shown(classNames[index]!));
  // What rounding does not explain comes first.
  const order = [...disagreements].sort((a, b) => excess(b) - excess(a));
  const lines = order.slice(0, SHOWN).map((each) => {
    const { file, label, train, deploy, moved, allowance } = each;
    const near = isNearTie(each);
    const judged =
      near === undefined
        ? 'the engine states no precision'
        : near
          ? `near-tie: rounding may move it by ${allowance!.toPrecision(2)}`
          : `rounding explains ${allowance!.toPrecision(2)} at most`;
    const truth = label === undefined ? '' : `, label ${name(label)}`;
    return wrap(
      `${shown(file)}${truth}: train ${name(train.best)} by ${train.margin.toPrecision(3)}, deploy ${name(deploy.best)} by ${deploy.margin.toPrecision(3)}; moved by ${moved.toPrecision(3)}, ${judged}`,
      '    ',
      '      ',
    );
  });
  const rest = disagreements.length - lines.length;
  return [
    `  they disagree on ${counted(disagreements.length, 'image')} (best class by its margin in logits over the second):`,
    ...lines,
    ...(rest > 0 ? [`    and ${rest} more; --json lists all`] : []),
  ];
}

/** How many times more than rounding explains. */
function excess({ moved, allowance }: Disagreement): number {
  return allowance === undefined ? moved : moved / allowance;
}

function verdictLine({ verdict, disagreements }: EvaluationReport): string {
  if (verdict === 'pass') {
    return disagreements.length === 0
      ? 'pass: the forms agree on every image'
      : 'pass: the forms agree, but for near-ties that rounding explains';
  }
  if (verdict === 'fail') return 'FAIL: the forms differ by more than rounding explains; verify says where';
  return 'inconclusive: see above';
}
