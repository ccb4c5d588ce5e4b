import { describe, expect, test } from 'vitest';
import { sampleReport } from '../../properties/sample-report.ts';
import { mergedMarkdown } from './markdown.ts';
import { mergeReports } from './merge.ts';
import type { Report } from './types.ts';
import { validateReport } from './validate.ts';

/** The part of the sample that one engine gave. */
function shard(...engines: readonly string[]): Report {
  const whole = sampleReport();
  const of = <Row extends { readonly engine: string | null }>(rows: readonly Row[]) =>
    rows.filter(({ engine }) => engine !== null && engines.includes(engine));
  return {
    ...whole,
    verdict: engines.includes('wasm') ? 'fail' : 'pass',
    measurements: of(whole.measurements),
    speedups: of(whole.speedups),
    nullControls: of(whole.nullControls),
    verification: of(whole.verification),
    failures: of(whole.failures),
  };
}

function onCpu(report: Report, cpu: string): Report {
  return { ...report, environment: { ...report.environment, cpu } };
}

describe('mergeReports', () => {
  test('joins the shards of one run to the whole, and hides no failure', async () => {
    const whole = sampleReport();
    const files = [shard('onnxruntime'), shard('cpu'), shard('wasm')].map((report, i) => ({
      file: `${i}.json`,
      report,
    }));
    const [only, ...others] = mergeReports(files);
    expect(others).toEqual([]);
    const { environment, figures: _f, accuracies: _a, ...joined } = only!.report;
    const { environment: expected, ...rest } = whole;
    expect(joined).toEqual(rest);
    expect(environment).toEqual({ ...expected, elapsedSeconds: 3 * expected.elapsedSeconds });
    await validateReport(only!.report);
  });

  test('corrects p values for all that is joined', () => {
    const files = ['onnxruntime', 'cpu'].map((engine) => {
      const { speedups, ...rest } = shard(engine);
      const rows = speedups.map((row) => ({ ...row, pValue: 0.01, pHolm: 0.01 }));
      return { file: `${engine}.json`, report: { ...rest, speedups: rows as Report['speedups'] } };
    });
    expect(mergeReports(files)[0]!.report.speedups.map(({ pHolm }) => pHolm)).toEqual([0.02, 0.02]);
  });

  test('gives each machine a column', () => {
    const machines = mergeReports([
      { file: 'a.json', report: onCpu(sampleReport(), 'A') },
      { file: 'b.json', report: onCpu(sampleReport(), 'B') },
    ]);
    expect(machines.map(({ label }) => label)).toEqual(['A, 2 cores', 'B, 2 cores']);
    const markdown = mergedMarkdown(machines);
    expect(markdown).toContain('| baseline | arm | A, 2 cores | B, 2 cores |');
    expect(markdown).toContain('| 1.100 (1.089 to 1.127), faster | 1.100 (1.089 to 1.127), faster |');
  });

  test('a network at two sizes has two rows', () => {
    const small = onCpu(sampleReport(), 'B');
    for (const row of small.speedups) row.resolution = 128;
    const markdown = mergedMarkdown(
      mergeReports([
        { file: 'a.json', report: onCpu(sampleReport(), 'A') },
        { file: 'b.json', report: small },
      ]),
    );
    expect(markdown).toContain(
      '| onnxruntime | 128x128 | 1 | 1 | reference | deploy |  | 1.100 (1.089 to 1.127), faster |',
    );
  });

  test('does not mix what was measured twice', () => {
    const files = ['a.json', 'b.json'].map((file) => ({ file, report: sampleReport() }));
    expect(mergeReports(files).map(({ label }) => label)).toEqual([
      'Some CPU, 2 cores (a.json)',
      'Some CPU, 2 cores (b.json)',
    ]);
  });

  test('partial is partial', () => {
    const files = [shard('onnxruntime'), { ...shard('cpu'), partial: true }].map((report, i) => ({
      file: `${i}`,
      report,
    }));
    expect(mergeReports(files)[0]!.report).toMatchObject({ verdict: 'pass', partial: true });
  });
});
