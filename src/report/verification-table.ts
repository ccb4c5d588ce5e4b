import { position } from '../network/tensor.ts';
import type { Finding, TierSummary, Verification } from '../verify/verify.ts';
import { grouped, wrap } from './text.ts';

type Report = Omit<Verification, 'logits'> & { readonly seconds: number; readonly peakMemoryBytes: number };

/** Findings shown in full; the first says where to look. */
const SHOWN = 3;

function tierLine(summary: TierSummary): string {
  const { tier, engine, form, verdict, compared } = summary;
  const what = [tier, engine, form].filter((part) => part !== undefined).join(', ');
  const used = worstOf(summary);
  return `  ${what.padEnd(36)}${verdict.padEnd(14)}${grouped(compared).padStart(12)}${used.padStart(16)}`;
}

function worstOf({ tier, compared, worstRatio, rounding }: TierSummary): string {
  if (compared === 0) return '';
  if (rounding !== undefined) return `${rounding.worstUlps.toPrecision(rounding.worstUlps > 0.5 ? 3 : 1)} ulp`;
  // Only tiers with a bound have a distance to it.
  return tier === 'algebra' || tier === 'runtime' ? `${percent(worstRatio)} of bound` : '';
}

/** Of given weights: how many were not fused in float64 and rounded once, and the one that shows it most. */
function roundingLines(tiers: readonly TierSummary[]): string[] {
  return tiers.flatMap(({ verdict, rounding }) => {
    // Where the tier fails, its worst weight is not one that rounding explains.
    if (verdict !== 'pass' || rounding === undefined || rounding.inFloat32 === 0) return [];
    const { inFloat32, worstWeight, worstUlps } = rounding;
    const what = `${grouped(inFloat32)} entries are not correctly rounded, as after a fusion in float32; most of all ${worstWeight}, by ${worstUlps.toPrecision(3)} ulp`;
    return [wrap(what, '  basis: ', '    ')];
  });
}

function percent(ratio: number): string {
  if (!Number.isFinite(ratio) || ratio >= 1000) return 'over 1000 x';
  return ratio > 1 ? `${ratio.toPrecision(3)} x` : `${(100 * ratio).toPrecision(2)} %`;
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
  const { size } = new Set(findings.map(({ key }) => key));
  const keys = size === 1 ? '1 weight differs' : `${grouped(size)} weights differ`;
  // The basis tier's ratios are over half a unit.
  const ulps = findings.map(({ tier, comparison }) => comparison.worstRatio / (tier === 'basis' ? 2 : 1));
  const largest = Math.max(...ulps).toPrecision(3);
  const rest = others === 0 ? 'nothing differs by more' : 'what differs by more stands above';
  return [
    wrap(
      `${keys} by no more than fusing in float32 makes (at most ${largest} ulp); ${rest}. Fuse in float64 and round once`,
      '  fail: ',
      '    ',
    ),
  ];
}

/**
 * A verification as text for a terminal of 80 columns; only names and commands may be longer.
 * @param sources what the weights are from, a sentence for each file
 */
export function verificationTable(
  report: Report,
  replay: (finding: Finding) => string,
  sources: readonly string[] = [],
): string {
  const { model, form, verdict, tiers, network, failures, problems, seconds, peakMemoryBytes } = report;
  const memory = `${(peakMemoryBytes / 2 ** 30).toFixed(1)} GiB at most so far`;
  const lines = [
    `${model}, ${form}: ${verdict}, in ${seconds.toFixed(1)} s, ${memory}`,
    ...sources.map((source) => wrap(source, '  ', '    ')),
    `  ${'tier'.padEnd(36)}${'verdict'.padEnd(14)}${'compared'.padStart(12)}${'worst error'.padStart(16)}`,
  ];
  lines.push(...tiers.map((tier) => tierLine(tier).trimEnd()));
  lines.push(...roundingLines(tiers));
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
