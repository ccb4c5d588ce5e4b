import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import type { VerificationRow } from '../report/types.ts';
import { validateReport } from '../report/validate.ts';
import { type BenchDependencies, type BenchOptions, type BenchProgress, runBench, type VerifyModel } from './run.ts';
import type { SessionResult, SessionSpec } from './session.ts';

const model = (name: string) => ({
  name,
  config: completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 4 }),
  resolution: 16,
});
const LOGITS = { reference: Float32Array.of(1), deploy: Float32Array.of(2) };
const DEVICE = 'CPU (JavaScript)';

function options(rest: Partial<BenchOptions> = {}): BenchOptions {
  return {
    models: [model('a'), model('b')],
    engines: ['cpu'],
    threads: 1,
    batch: 1,
    size: undefined,
    seed: 1,
    quick: false,
    ...rest,
  };
}

/** A verification with this verdict for each model. */
function verifying(verdicts: Readonly<Record<string, VerificationRow['verdict']>>): VerifyModel {
  return async ({ name }) => {
    const verdict = verdicts[name] ?? 'pass';
    const tiers = [{ tier: 'runtime', verdict, compared: 5, worst: 0.5 }];
    return { rows: [{ model: name, engine: 'cpu', verdict, tiers }], logits: new Map([['cpu', LOGITS]]) };
  };
}

function result(rest: Partial<SessionResult> = {}): SessionResult {
  return {
    info: { name: 'cpu', version: '1', device: DEVICE, threads: 1 },
    samples: { reference: [4, 2, 6, 2], deploy: [1, 2, 3, 2] },
    inferencesPerSample: { reference: 5, deploy: 10 },
    logRatios: [Math.log(2), Math.log(2)],
    checked: 8,
    settled: true,
    tensorsLeaked: 0,
    peakRssBytes: 1000,
    ...rest,
  };
}

/** Runs with sessions that give `results` in turn; an Error is thrown. */
async function run(
  request: BenchOptions,
  results: readonly (SessionResult | Error)[],
  verifyModel: VerifyModel = verifying({}),
) {
  const specs: SessionSpec[] = [];
  const events: BenchProgress[] = [];
  const runSession: BenchDependencies['runSession'] = async (spec, onProgress) => {
    onProgress({ phase: 'load' });
    const next = results[specs.push(spec) - 1];
    if (next === undefined) throw new Error('one session too many');
    if (next instanceof Error) throw next;
    return next;
  };
  const report = await runBench(request, (event) => events.push(event), { verifyModel, runSession });
  return { report: await validateReport(report), specs, events };
}

describe('runBench', () => {
  test('reports medians, spread and the ratio of what was verified', async () => {
    const { report, specs } = await run(options({ models: [model('a')] }), [result()]);
    expect(report.verdict).toBe('pass');
    expect(report.measurements).toMatchObject([
      { model: 'a', engine: 'cpu', arm: 'reference', latencyMs: 3, minMs: 2, resolution: 16, inferencesPerSample: 5 },
      { model: 'a', engine: 'cpu', arm: 'deploy', latencyMs: 2, minMs: 1, samplesMs: [1, 2, 3, 2] },
    ]);
    const estimate = Math.exp(Math.log(2));
    expect(report.speedups).toMatchObject([{ estimate, low: estimate, high: estimate, confidence: 0.5, quads: 2 }]);
    expect(report.speedups[0]?.note).toBe(
      '2 of 24 quads, for the engine is slow and the time limited; so few quads give an interval of 50 %, not 95 %',
    );
    expect(report.audit.map(({ form, heads }) => `${form} ${heads}`)).toEqual(['train 2', 'train 1', 'deploy 1']);
    expect(specs[0]?.expected).toBe(LOGITS);
  });

  test('shares the time among the sessions and gives each the same request', async () => {
    const { specs, events } = await run(options({ batch: 2, size: { height: 16, width: 24 } }), [result(), result()]);
    expect(specs.map(({ quads, threads, seed, engine }) => [quads, threads, seed, engine])).toEqual([
      [24, 1, 1, 'cpu'],
      [24, 1, 1, 'cpu'],
    ]);
    expect(specs[0]?.size).toEqual({ batch: 2, height: 16, width: 24 });
    // Two models have 90 s: the first session half of them.
    expect(specs[0]?.budgetMs).toBeLessThanOrEqual(45_000);
    expect(events.map((event) => (event.phase === 'time' ? `${event.model} ${event.session}` : event.phase))).toEqual([
      'verify',
      'verify',
      'a 1',
      'b 2',
    ]);
  });

  test('a quick run has fewer quads in less time', async () => {
    const { report, specs } = await run(options({ quick: true, models: [model('a')] }), [result()]);
    expect(specs[0]?.quads).toBe(8);
    expect(specs[0]?.budgetMs).toBeLessThanOrEqual(15_000);
    expect(report.environment.quick).toBe(true);
  });

  test.each([
    ['fail', 'fail'],
    ['inconclusive', 'inconclusive'],
    ['nothing compared', 'inconclusive'],
  ] as const)('does not time what is not verified: %s', async (verdict, whole) => {
    const { report, specs } = await run(options(), [result()], verifying({ a: verdict }));
    expect(specs.map((spec) => spec.model.name)).toEqual(['b']);
    expect(report.measurements.map((row) => row.model)).toEqual(['b', 'b']);
    expect(report.verdict).toBe(whole);
    expect(report.failures).toEqual([
      {
        model: 'a',
        engine: 'cpu',
        stage: 'verification',
        message: `not timed, for it is not verified (runtime: ${verdict})`,
      },
    ]);
  });

  test('does not time an engine that the verification says nothing of', async () => {
    const { report } = await run(options({ models: [model('a')] }), [], async () => ({ rows: [], logits: new Map() }));
    expect(report.verdict).toBe('inconclusive');
    expect(report.measurements).toEqual([]);
    expect(report.failures.map(({ message }) => message)).toEqual(['not timed, for it is not verified (no verdict)']);
  });

  test('a session that fails is a failure, and the next one runs', async () => {
    const { report } = await run(options(), [new Error('the timing process was killed (SIGKILL)'), result()]);
    expect(report.verdict).toBe('fail');
    expect(report.failures).toEqual([
      { model: 'a', engine: 'cpu', stage: 'timing', message: 'the timing process was killed (SIGKILL)' },
    ]);
    expect(report.speedups.map((row) => row.model)).toEqual(['b']);
  });

  test('tensors left behind fail the run', async () => {
    const { report } = await run(options(), [result({ tensorsLeaked: 2 }), result()]);
    expect(report.verdict).toBe('fail');
    expect(report.environment.tensorsLeaked).toBe(2);
    expect(report.failures.map(({ message }) => message)).toEqual(['2 tensors were left behind']);
  });

  test('an engine that runs elsewhere when timed fails the run', async () => {
    const elsewhere = result({ info: { name: 'cpu', version: '1', device: 'GPU', threads: 1 } });
    const { report } = await run(options(), [elsewhere, result()]);
    expect(report.verdict).toBe('fail');
    expect(report.failures.map(({ message }) => message)).toEqual([
      `it was verified on ${DEVICE}, and ran on GPU when timed`,
    ]);
  });

  test('says when the warm-up had not settled', async () => {
    const { report } = await run(options({ models: [model('a')] }), [
      result({ settled: false, logRatios: Array(24).fill(0.1) }),
    ]);
    expect(report.speedups[0]?.note).toBe('timing began before the warm-up had settled to 1 %');
  });

  test('finds a size that is too small before anything is verified', async () => {
    const refuse: VerifyModel = async () => {
      throw new Error('verified');
    };
    const small = { ...model('small'), resolution: 2 };
    await expect(run(options({ models: [model('a'), small] }), [], refuse)).rejects.toThrow(InputError);
  });
});
