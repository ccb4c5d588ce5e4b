import { describe, expect, test } from 'vitest';
import { measured, ratio, sampleReport, setting } from '../../properties/sample-report.ts';
import { audit } from '../audit/audit.ts';
import { resolveModel } from '../reference/config.ts';
import { benchTable } from './bench-table.ts';
import { benchMarkdown } from './markdown.ts';
import { interval, milliseconds, wrap } from './text.ts';
import type { Report } from './types.ts';
import { validateReport } from './validate.ts';

/** The same network with a second deploy form, timed on one engine and too slow on another. */
function withOfficial(): Report {
  const report = sampleReport();
  return {
    ...report,
    measurements: [...report.measurements, measured('onnxruntime', 'deploy-official', 98.1)],
    speedups: [
      ...report.speedups,
      { ...ratio('onnxruntime', 2.7, 2.8012, 2.9), baseline: 'deploy-official' },
      { ...ratio('wasm', 0.99, 1, 1.01), baseline: 'deploy-official' },
    ],
    skipped: [
      {
        model: 'repvit_m0_9',
        engine: 'cpu',
        threads: 1,
        batch: 1,
        reason: '5 sessions would take 66 s or more, over the limit of 60 s',
      },
    ],
  };
}

describe('validateReport', () => {
  test('takes a whole report, with rows as the audit makes them', async () => {
    const { rows } = audit([await resolveModel('repvit_m0_9')]);
    const report = { ...sampleReport(), audit: rows };
    expect(await validateReport(report)).toBe(report);
    expect(rows.length).toBe(3);
  });

  test('takes a resolution that is not square as a pair', async () => {
    const report = sampleReport();
    for (const row of [...report.measurements, ...report.speedups]) row.resolution = [192, 256];
    expect(await validateReport(report)).toBe(report);
  });

  const broken: readonly (readonly [what: string, value: unknown, message: string])[] = [
    ['an unknown field', { ...sampleReport(), extra: 1 }, 'must NOT have additional properties'],
    ['another version', { ...sampleReport(), schemaVersion: 1 }, '/schemaVersion must be equal to constant'],
    [
      'an infinite latency',
      { ...sampleReport(), measurements: [measured('cpu', 'deploy', Number.POSITIVE_INFINITY)] },
      '/measurements/0/latencyMs must be number',
    ],
    [
      'no latency',
      { ...sampleReport(), measurements: [measured('cpu', 'deploy', 0)] },
      '/measurements/0/latencyMs must be > 0',
    ],
    [
      'no sessions',
      { ...sampleReport(), measurements: [{ ...measured('cpu', 'deploy', 2), sessions: [] }] },
      '/measurements/0/sessions must NOT have fewer than 1 items',
    ],
    ['no environment', { ...sampleReport(), environment: undefined }, "must have required property 'environment'"],
  ];
  test.each(broken)('refuses %s', async (_what, value, message) => {
    await expect(validateReport(value)).rejects.toThrow(message);
  });
});

describe('benchTable', () => {
  test('is the table of 80 columns', () => {
    expect(`\n${benchTable(sampleReport())}`).toBe(`
repvit_m0_9 at 224x224, batch 1
  engine            threads    train ms  deploy ms  train / deploy
  onnxruntime             1        11.8       10.7  1.100 (1.089 to 1.127)
    1 session; null 1.001
  cpu                     1        1830       1772  1.033 (0.990 to 1.050)
    1 session; null 1.001, strayed in 1 of 1 session; inconclusive; the time was
    up
  verified: pass, deploy on onnxruntime, 1,235,330 elements compared
  verified: pass, deploy on cpu, 1,235,330 elements compared
  verified: fail, deploy on wasm, 1,235,330 elements compared; runtime, deploy:
    fail

✗ repvit_m0_9 on wasm, verification: deploy against reference: not timed, for
  deploy is not verified (runtime, deploy: fail)
not here: tfjs-node: not installed; npm run tensorflow

Each interval is over sessions, each a fresh process. Null: the deploy form
loaded twice and timed against itself in the same sessions, where the truth is
1.`);
  });

  test('shows each pair of arms with its own latencies', () => {
    const lines = benchTable(withOfficial()).split('\n');
    const start = lines.findIndex((line) => line.includes('official ms'));
    expect(lines.slice(start, start + 2)).toEqual([
      '  engine            threads official ms  deploy ms  official / deploy',
      '  onnxruntime             1        98.1       10.7  2.801 (2.700 to 2.900)',
    ]);
  });

  test('says what was not timed, and why', () => {
    expect(benchTable(withOfficial())).toContain(
      `
not timed: repvit_m0_9 on cpu: 5 sessions would take 66 s or more, over the
  limit of 60 s
`,
    );
  });

  test('tells several batches and threads apart', () => {
    const report = sampleReport();
    const [first, ...rest] = report.verification;
    const text = benchTable({
      ...report,
      measurements: [...report.measurements, { ...report.measurements[0]!, batch: 2 }],
      verification: [first!, { ...first!, threads: 2 }, { ...first!, batch: 2 }, ...rest],
    });
    expect(text.split('\n')[0]).toBe('repvit_m0_9 at 224x224, batch 1, 2');
    expect(text).toContain(
      `
  verified: pass, deploy on onnxruntime, 1 thread, batch 1, 1,235,330 elements
    compared
  verified: pass, deploy on onnxruntime, 2 threads, batch 1, 1,235,330 elements
    compared
  verified: pass, deploy on onnxruntime, 1 thread, batch 2, 1,235,330 elements
    compared
`,
    );
  });

  test('what has no profile was timed all the same', () => {
    const [skipped] = withOfficial().skipped;
    const report = {
      ...withOfficial(),
      skipped: [{ ...skipped!, stage: 'profile' as const, reason: 'it cannot say' }],
    };
    const said = 'no profile: repvit_m0_9 on cpu: it cannot say';
    expect(benchTable(report)).toContain(`\n${said}\n`);
    expect(benchTable(report)).not.toContain('not timed: repvit');
    const twice = { ...report, skipped: [...report.skipped, { ...report.skipped[0]!, threads: 2, batch: 8 }] };
    for (const text of [benchTable(twice), benchMarkdown(twice)]) {
      expect(text).toContain('repvit_m0_9 on cpu, 2 threads, batch 8: it cannot say');
    }
    expect(benchMarkdown(report)).toContain('## No profile\n\n- repvit_m0_9 on cpu: it cannot say\n');
  });

  test('keeps to 80 columns whatever the messages', () => {
    const report = withOfficial();
    for (const row of [...report.measurements, ...report.speedups]) row.engine = 'tfjs-node-gpu';
    report.failures.push({
      model: 'repvit_m2_3_cifar100',
      engine: 'tfjs-node-gpu',
      stage: 'timing',
      message: 'word '.repeat(60).trim(),
    });
    const widest = Math.max(
      ...benchTable(report)
        .split('\n')
        .map((line) => line.length),
    );
    expect(widest).toBeLessThanOrEqual(80);
  });

  test('says that nothing was timed', () => {
    const text = benchTable({ ...sampleReport(), measurements: [], speedups: [] });
    expect(text).toContain('repvit_m0_9\n  not timed\n');
  });

  test('leads with it where the run was interrupted', () => {
    expect(benchTable({ ...sampleReport(), partial: true })).toMatch(/^Partial: the run was interrupted\.\n\n/);
  });
});

/** The report with throughput and a profile. */
function withExtras(): Report {
  const place = { ...setting, engine: 'onnxruntime', arm: 'deploy' } as const;
  const streams = (count: number, latencyMs: number, imagesPerSecond: number): Report['throughput'][number] => ({
    ...place,
    streams: count,
    seconds: 1.5,
    inferences: 100,
    imagesPerSecond,
    latencyMs,
    p95Ms: latencyMs,
    checkedOutputs: count,
  });
  const node = (name: string, op: string, milliseconds: number, macs: number | null) => {
    const gflops = macs === null ? null : (2 * macs) / (milliseconds * 1e6);
    const peakShare = gflops === null ? null : gflops / 100;
    return { name, op, milliseconds, share: milliseconds / 20, macs, gflops, peakShare };
  };
  const small = Array.from({ length: 16 }, (_, index) =>
    node(`small.${index}`, index % 2 ? 'Conv' : 'Add', 0.25, index % 2 ? 5e6 : null),
  );
  const large = node('stages.2.blocks.13.channel_mixer.conv1.with.a.long.name', 'Conv', 16, 4e8);
  return {
    ...sampleReport(),
    throughput: [streams(1, 10.7, 93.46), streams(2, 12.5, 160)],
    accuracies: [
      { model: 'repvit_m0_9', source: 'a', top1: 79.1 },
      { model: 'repvit_m0_9', source: 'b', top1: 78.7 },
    ],
    networks: [{ model: 'repvit_m0_9', resolution: 224, classes: 1000, weightsSha256: '0'.repeat(64) }],
    profiles: [{ ...place, inferences: 20, totalMs: 20, peakGflops: 100, nodes: [...small, large] }],
  };
}

describe('throughput and profile', () => {
  test('are shown in the terminal within 80 columns', async () => {
    const lines = benchTable(withExtras()).split('\n');
    expect(lines).toContain('  throughput: deploy on onnxruntime, 1 thread: 1 stream 10.7 ms, 93.5/s; 2');
    expect(lines).toContain('  profile: deploy on onnxruntime, 1 thread: 20.0 ms, median of 20 inferences;');
    expect(lines).toContain('  …el_mixer.conv1.with.a.long.name  Conv            16.0  80.0 %     50.0   50 %');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test("have the boards' table in Markdown: alone, with several streams, and the most", async () => {
    const { rows } = audit([await resolveModel('repvit_m0_9')]);
    const report = { ...withExtras(), audit: rows.map((row) => ({ ...row, published: [...row.published] })) };
    const lines = benchMarkdown(await validateReport(report)).split('\n');
    expect(lines).toContain(
      '| model | form | engine | size | classes | parameters (M) | published top-1 | batch | threads | 1 stream | 2 streams | most images/s |',
    );
    expect(lines).toContain(
      '| repvit_m0_9 | deploy | onnxruntime | 224x224 | 1,000 | 5.1 | 79.1 % | 1 | 1 | 10.7 / 93.5 | 12.5 / 160 | 160 |',
    );
    expect(lines).toContain(
      '| stages.2.blocks.13.channel_mixer.conv1.with.a.long.name | Conv | 16.0 | 80.0 % | 50.0 | 50 % |',
    );
    // What is not listed is put together by what it computes.
    expect(lines).toContain('| 1 more | Conv | 0.250 | 1.3 % | 40.0 | 40 % |');
    expect(lines).toContain('| 1 more | Add | 0.250 | 1.3 % |  |  |');
  });
});

describe('benchMarkdown', () => {
  const lines = (report: Report) => benchMarkdown(report).split('\n');

  test('leads with the verdict and what fusing bought', () => {
    expect(lines(sampleReport()).slice(0, 5)).toEqual([
      '# fuseproof benchmark',
      '',
      '**Verdict: fail.** What fusing bought:',
      '',
      '- repvit_m0_9, fused: 1.10 times as fast on onnxruntime, inconclusive on cpu',
    ]);
  });

  test('warns where a null control strayed', () => {
    const warning =
      '**Too noisy to be trusted: against itself the deploy form was off by more than 1 %, repvit_m0_9 on cpu (1 of 1 session). Close other programs.**';
    expect(lines(sampleReport())[6]).toBe(warning);
    const quiet = sampleReport();
    for (const control of quiet.nullControls) control.noisy = false;
    expect(benchMarkdown(quiet)).not.toContain('Too noisy');
  });

  test('names the form that the deploy form is held against, where it is not the train form', () => {
    expect(lines(withOfficial())[4]).toBe(
      '- repvit_m0_9, fused: 1.10 times as fast on onnxruntime, inconclusive on cpu, 2.80 times as fast as deploy-official on onnxruntime, 1.00 times as fast as deploy-official on wasm',
    );
    expect(lines(withOfficial())).toContain(
      '| repvit_m0_9 | onnxruntime | 224x224 | 1 | 1 | deploy-official | deploy | 98.1 | 10.7 | 2.801 | 2.700 to 2.900 | faster | 0.020 | 1 | 1.0012 (0.998 to 1.005) |',
    );
  });

  test('has no part about skips where there are none', () => {
    expect(lines(sampleReport())).not.toContain('## Not timed');
  });

  test('has every part', () => {
    const titles = lines(withOfficial()).filter((line) => line.startsWith('## '));
    expect(titles).toEqual([
      '## What went wrong',
      '## Latency',
      '## Not timed',
      '## Counts',
      '## Verification',
      '## Environment',
      '## Engines that are not here',
    ]);
  });

  test('shows both forms, the ratio, its interval and the null control', () => {
    expect(lines(sampleReport())).toContain(
      '| repvit_m0_9 | cpu | 224x224 | 1 | 1 | reference | deploy | 1830 | 1772 | 1.033 | 0.990 to 1.050 | inconclusive | 0.020 | 1 | 1.0012 (0.998 to 1.005), noisy |',
    );
    expect(lines(sampleReport())).toContain(
      '| repvit_m0_9 | wasm | deploy | runtime, deploy | fail | 1,234,567 | 13 |',
    );
  });

  test('counts each published figure once', async () => {
    const { rows } = audit([await resolveModel('repvit_m0_9')]);
    const report = { ...sampleReport(), audit: rows.map((row) => ({ ...row, published: [...row.published] })) };
    const deploy = lines(report).find((line) => line.startsWith('| repvit_m0_9 | deploy |'));
    expect(deploy).toContain('| 5,067,056 | 815,617,344 | 6,165,584 | 5.1 M parameters, 0.8 G macs,');
  });

  test('a name or a message can begin no tag, and end no list', () => {
    const report = sampleReport();
    for (const row of report.speedups) row.model = 'm<img src=x>';
    report.failures[0]!.message = 'first\n\n# second </details>';
    const text = benchMarkdown(report);
    expect(text).toContain('| m&lt;img src=x> | cpu |');
    expect(text).toContain('verification: first # second &lt;/details>');
    expect(text).not.toMatch(/<[a-z/]/i);
  });

  test('keeps a name with a bar inside its cell', () => {
    const report = sampleReport();
    for (const row of [...report.measurements, ...report.speedups]) row.model = 'a|b';
    expect(benchMarkdown(report)).toContain('| a\\|b | cpu |');
  });
});

describe('text', () => {
  test('rounds an interval outwards', () => {
    expect(interval({ low: 1.0009, high: 1.0001 })).toBe('1.000 to 1.001');
  });

  test('says where one session leaves no interval', () => {
    expect(interval({ low: null, high: null })).toBe('no interval');
  });

  test('gives milliseconds three figures', () => {
    expect([1.23456, 12.3456, 123.456, 1234.56].map(milliseconds)).toEqual(['1.23', '12.3', '123', '1235']);
  });

  test('wraps at spaces and never splits a word', () => {
    expect(wrap(`${'a'.repeat(79)} b`, '- ', '  ')).toBe(`- ${'a'.repeat(79)}\n  b`);
    expect(wrap(`${'a'.repeat(76)} b`, '- ', '  ')).toBe(`- ${'a'.repeat(76)} b`);
    expect(wrap(`${'a'.repeat(77)} b`, '- ', '  ')).toBe(`- ${'a'.repeat(77)}\n  b`);
  });
});
