import { describe, expect, test } from 'vitest';
import { sampleReport } from '../../properties/sample-report.ts';
import { audit } from '../audit/audit.ts';
import { resolveModel } from '../reference/config.ts';
import { baselineOf, gateLines, judge, TOLERATED } from './gate.ts';
import type { Report } from './types.ts';
import { parseBaseline } from './validate.ts';

async function report(): Promise<Report> {
  const { rows } = audit([await resolveModel('repvit_m0_9')]);
  return { ...sampleReport(), audit: rows.map((row) => ({ ...row, published: [] })) };
}

/** The report with the first ratio's estimate and interval as given. */
function measured(base: Report, estimate: number, low: number | null, high: number | null): Report {
  const [first, ...rest] = base.speedups;
  return { ...base, speedups: [{ ...first!, estimate, low, high }, ...rest] };
}

describe('judge', () => {
  test('holds a run against its own baseline, and says what it compared', async () => {
    const run = await report();
    const result = judge(run, baselineOf(run, undefined));
    expect(result.verdict).toBe('pass');
    expect(result.judgements.map(({ kind, verdict }) => `${kind} ${verdict}`)).toEqual([
      'ratio pass',
      'ratio pass',
      'count pass',
      'count pass',
      'count pass',
    ]);
    expect(gateLines(result)).toEqual(['against the baseline: pass; 2 ratios hold, 3 forms have equal counts']);
  });

  test.each([
    ['just under the limit', -1e-9, 'fail'],
    ['at the limit', 1e-9, 'pass'],
  ])('fails only where the whole interval lies under the limit: upper end %s', async (_, off, verdict) => {
    const run = await report();
    const baseline = baselineOf(run, undefined);
    const limit = TOLERATED * run.speedups[0]!.estimate;
    const slower = measured(run, limit * 0.9, limit * 0.8, limit + off);
    expect(judge(slower, baseline).verdict).toBe(verdict);
  });

  test('a worse estimate whose interval reaches the limit is noise', async () => {
    const run = await report();
    const baseline = baselineOf(run, undefined);
    expect(judge(measured(run, 0.5, 0.2, 1.2), baseline).verdict).toBe('pass');
  });

  test('a ratio without an interval decides nothing', async () => {
    const run = await report();
    const result = judge(measured(run, 0.5, null, null), baselineOf(run, undefined));
    expect(result.judgements[0]).toMatchObject({ verdict: 'undecided' });
    expect(result.verdict).toBe('pass');
  });

  test('any count that differs fails, by name', async () => {
    const run = await report();
    const baseline = baselineOf(run, undefined);
    const other = { ...run, audit: run.audit.map((row, i) => (i === 2 ? { ...row, macs: row.macs + 1 } : row)) };
    const result = judge(other, baseline);
    expect(result.verdict).toBe('fail');
    expect(gateLines(result)[1]).toBe(
      "fail: repvit_m0_9, deploy, 1 head, 224x224: macs 815,617,345, the baseline's are 815,617,344",
    );
  });

  test('says what is new, and what was not run; nothing compared is no pass', async () => {
    const run = await report();
    const empty = { ...baselineOf(run, undefined), speedups: [], counts: [] };
    expect(judge(run, empty)).toMatchObject({ verdict: 'inconclusive' });
    expect(judge(run, empty).judgements.every(({ verdict }) => verdict === 'new')).toBe(true);
    const less = { ...run, speedups: run.speedups.slice(1) };
    const lines = gateLines(judge(less, baselineOf(run, undefined)));
    expect(lines[0]).toBe('against the baseline: pass; 1 ratio holds, 3 forms have equal counts');
    expect(lines[1]).toContain('not run: repvit_m0_9 on onnxruntime (1 thread, batch 1, 224x224), reference / deploy');
  });

  test('says where the baseline is of another processor', async () => {
    const run = await report();
    const result = judge(run, { ...baselineOf(run, undefined), cpu: 'Another CPU' });
    expect(gateLines(result).at(-1)).toContain('another processor (Another CPU; this is Some CPU)');
  });
});

describe('baselineOf', () => {
  test('keeps what this run did not measure, and replaces what it did', async () => {
    const run = await report();
    const first = baselineOf(run, undefined);
    const faster = measured({ ...run, speedups: run.speedups.slice(0, 1) }, 2, 1.9, 2.1);
    const second = baselineOf(faster, first);
    expect(second.speedups.map(({ engine, estimate }) => [engine, estimate])).toEqual([
      ['cpu', run.speedups[1]!.estimate],
      ['onnxruntime', 2],
    ]);
    expect(second.counts).toEqual(first.counts);
    expect(await parseBaseline(JSON.stringify(second), 'it')).toEqual(second);
  });

  test.each([null, 0.04])('leaves out a ratio that noise left open: half-width %d', async (halfWidth) => {
    const run = await report();
    const [first, ...rest] = run.speedups;
    const { speedups } = baselineOf({ ...run, speedups: [{ ...first!, halfWidth }, ...rest] }, undefined);
    expect(speedups.map(({ engine }) => engine)).toEqual(['cpu']);
  });

  test('keeps counts, and no ratios, of another processor', async () => {
    const run = await report();
    const first = { ...baselineOf(run, undefined), cpu: 'Another CPU' };
    const second = baselineOf({ ...run, speedups: run.speedups.slice(0, 1), audit: [] }, first);
    expect(second.cpu).toBe('Some CPU');
    expect(second.speedups.map(({ engine }) => engine)).toEqual(['onnxruntime']);
    expect(second.counts).toEqual(first.counts);
  });

  test.each([
    ['{', 'not JSON'],
    ['{"baselineVersion": 1}', "b.json: no baseline: it must have required property 'date'"],
    [
      '{"baselineVersion": 2}',
      'b.json: a baseline of version 2, and this fuseproof reads version 1; fuseproof bench --update-baseline writes one to another file',
    ],
  ])('refuses %s', async (text, message) => {
    await expect(parseBaseline(text, 'b.json')).rejects.toThrow(message);
  });
});
