import type { Finding, TierSummary, Verification } from '../verify/verify.ts';
import { grouped, wrap } from './text.ts';

type Report = Omit<Verification, 'logits'> & { readonly seconds: number; readonly peakMemoryBytes: number };

/** Findings shown in full; the first says where to look. */
const SHOWN = 3;

function tierLine({ tier, engine, form, verdict, compared, worstRatio }: TierSummary): string {
  const what = [tier, engine, form].filter((part) => part !== undefined).join(', ');
  // Only tiers with a bound have a distance to it.
  const hasBound = (tier === 'algebra' || tier === 'runtime') && compared > 0;
  const used = hasBound ? `${percent(worstRatio)} of bound` : '';
  return `  ${what.padEnd(36)}${verdict.padEnd(14)}${grouped(compared).padStart(12)}${used.padStart(16)}`;
}

function percent(ratio: number): string {
  if (!Number.isFinite(ratio) || ratio >= 1000) return 'over 1000 x';
  return ratio > 1 ? `${ratio.toPrecision(3)} x` : `${(100 * ratio).toPrecision(2)} %`;
}

/** The position of a flat index in a tensor, e.g. `[0, 12, 3, 4]`. */
export function position(index: number, shape: readonly number[]): string {
  const axes: number[] = [];
  let rest = index;
  for (const dimension of shape.toReversed()) {
    axes.unshift(rest % dimension);
    rest = Math.floor(rest / dimension);
  }
  return `[${axes.join(', ')}]`;
}

function findingLines(finding: Finding, replay: string): string[] {
  const { tier, piece, rules, reference, engine, form, key, comparison, operations, shape, input } = finding;
  const where = [tier, engine, form, input === 'probe' ? 'probe input' : undefined].filter(
    (part) => part !== undefined,
  );
  const lines = [
    `  ${comparison.verdict}: ${piece} (${where.join(', ')})`,
    wrap(`replaces ${reference.join(', ')}${rules.length > 0 ? ` by ${rules.join(', ')}` : ''}`, '    ', '      '),
  ];
  if (key !== undefined) lines.push(`    key ${key}`);
  if (comparison.reason !== undefined) lines.push(wrap(comparison.reason, '    ', '      '));
  if (comparison.failures > 0) {
    const bound = operations === undefined ? '' : `, bound gamma_${operations} * S`;
    lines.push(
      `    ${grouped(comparison.failures)} of ${grouped(comparison.compared)} elements differ${bound}; the worst:`,
    );
    for (const { index, expected, actual, bound: allowed, ratio } of comparison.worst) {
      lines.push(`      ${position(index, shape)}`);
      lines.push(`        expected ${expected}, actual ${actual}`);
      lines.push(
        `        error ${Math.abs(actual - expected).toExponential(3)}, ${tier === 'weights' ? `${ratio.toPrecision(3)} ulp` : `bound ${allowed.toExponential(3)}, ratio ${ratio.toPrecision(3)}`}`,
      );
    }
  }
  lines.push('    replay:', `      ${replay}`);
  return lines;
}

/** Weights that differ as fusing in float32 makes them: all of a kind, so in one sentence. */
function roundedLines(findings: readonly Finding[], others: number): string[] {
  const keys = findings.length === 1 ? '1 weight differs' : `${grouped(findings.length)} weights differ`;
  const largest = Math.max(...findings.map(({ comparison }) => comparison.worstRatio)).toPrecision(3);
  const rest = others === 0 ? 'nothing differs by more' : 'what differs by more stands above';
  return [
    wrap(
      `${keys} by no more than fusing in float32 makes (at most ${largest} ulp); ${rest}. Fuse in float64 and round once`,
      '  fail: ',
      '    ',
    ),
  ];
}

/** A verification as text for a terminal of 80 columns; only names and commands may be longer. */
export function verificationTable(report: Report, replay: (finding: Finding) => string): string {
  const { model, form, verdict, tiers, network, failures, problems, seconds, peakMemoryBytes } = report;
  const memory = `${(peakMemoryBytes / 2 ** 30).toFixed(1)} GiB at most so far`;
  const lines = [
    `${model}, ${form}: ${verdict}, in ${seconds.toFixed(1)} s, ${memory}`,
    `  ${'tier'.padEnd(36)}${'verdict'.padEnd(14)}${'compared'.padStart(12)}${'worst error'.padStart(16)}`,
  ];
  lines.push(...tiers.map((tier) => tierLine(tier).trimEnd()));
  if (network.length > 0) {
    lines.push(
      '  logits against the float64 train form',
      `  ${''.padEnd(36)}${'max/largest'.padStart(12)}${'SNR dB'.padStart(9)}${'top-1'.padStart(9)}${'top-5'.padStart(9)}`,
    );
    for (const { engine, form, logits } of network) {
      const agree = (count: number) => `${count}/${logits.images}`;
      lines.push(
        `  ${`${engine}, ${form}`.padEnd(36)}${logits.maxRelative.toExponential(1).padStart(12)}${logits.snr.toFixed(1).padStart(9)}${agree(logits.top1).padStart(9)}${agree(logits.top5).padStart(9)}`,
      );
    }
  }
  lines.push(...problems.map((problem) => wrap(problem, '  problem: ', '    ')));
  // What rounding explains must not hide what it does not.
  const rounded = failures.filter(({ roundedInFloat32 }) => roundedInFloat32 === true);
  const unexplained = failures.filter(({ roundedInFloat32 }) => roundedInFloat32 !== true);
  for (const finding of unexplained.slice(0, SHOWN)) lines.push(...findingLines(finding, replay(finding)));
  if (unexplained.length > SHOWN) lines.push(`  and ${unexplained.length - SHOWN} more; --json lists all`);
  if (rounded.length > 0) lines.push(...roundedLines(rounded, unexplained.length));
  return lines.join('\n');
}
