import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import type { VerificationRow } from '../report/types.ts';
import { validateReport } from '../report/validate.ts';
import { type BenchDependencies, type BenchOptions, type BenchProgress, runBench, type VerifyModel } from './run.ts';
import type { SessionResult, SessionSkip, SessionSpec } from './session.ts';

const model = (name: string) => ({
  name,
  config: completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 4 }),
  resolution: 16,
});
/** A network with three forms. */
const threeForms = {
  name: 'mlp',
  config: completeRepMlpNetConfig({ num_blocks: [1], channels: [8], hs: [4], ws: [4], sharesets_nums: [2] }),
  resolution: 16,
};
const LOGITS = {
  reference: Float32Array.of(1),
  'deploy-official': Float32Array.of(2),
  deploy: Float32Array.of(3),
};
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

/** A verification with this verdict for each model, or for each form of it (`MODEL/FORM`). */
function verifying(verdicts: Readonly<Record<string, VerificationRow['verdict']>>): VerifyModel {
  return async ({ name, deployForms }, engines) => {
    const rows = engines.flatMap(({ info }) =>
      deployForms.map(({ name: form }): VerificationRow => {
        const verdict = verdicts[`${name}/${form}`] ?? verdicts[name] ?? 'pass';
        const tiers = [{ tier: 'runtime', verdict, compared: 5, worst: 0.5 }];
        return { model: name, engine: info.name, form, verdict, tiers };
      }),
    );
    return { rows, logits: new Map(engines.map(({ info }) => [info.name, LOGITS])) };
  };
}

function result(rest: Partial<SessionResult> = {}): SessionResult {
  return {
    kind: 'timed',
    info: { name: 'cpu', version: '1', device: DEVICE, threads: 1 },
    samples: { baseline: [4, 2, 6, 2], arm: [1, 2, 3, 2] },
    inferencesPerSample: { baseline: 5, arm: 10 },
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
  results: readonly (SessionResult | SessionSkip | Error)[],
  verifyModel: VerifyModel = verifying({}),
  tookMs = 0,
) {
  let time = 0;
  const specs: SessionSpec[] = [];
  const events: BenchProgress[] = [];
  const runSession: BenchDependencies['runSession'] = async (spec, onProgress) => {
    onProgress({ phase: 'load' });
    time += tookMs;
    const next = results[specs.push(spec) - 1];
    if (next === undefined) throw new Error('one session too many');
    if (next instanceof Error) throw next;
    return next;
  };
  const report = await runBench(request, (event) => events.push(event), { verifyModel, runSession, now: () => time });
  return { report: await validateReport(report), specs, events };
}

describe('runBench', () => {
  test('reports medians, spread and the ratio of what was verified', async () => {
    const { report, specs } = await run(options({ models: [model('a')] }), [result()]);
    expect(report.verdict).toBe('pass');
    expect(report.measurements).toMatchObject([
      {
        model: 'a',
        engine: 'cpu',
        arm: 'reference',
        against: 'deploy',
        latencyMs: 3,
        minMs: 2,
        resolution: 16,
        inferencesPerSample: 5,
      },
      {
        model: 'a',
        engine: 'cpu',
        arm: 'deploy',
        against: 'reference',
        latencyMs: 2,
        minMs: 1,
        samplesMs: [1, 2, 3, 2],
      },
    ]);
    const estimate = Math.exp(Math.log(2));
    expect(report.speedups).toMatchObject([
      { baseline: 'reference', arm: 'deploy', estimate, low: estimate, high: estimate, confidence: 0.5, quads: 2 },
    ]);
    expect(report.speedups[0]?.note).toBe(
      '2 of 24 quads, for the time is limited; so few quads give an interval of 50 %, not 95 %',
    );
    expect(report.audit.map(({ form, heads }) => `${form} ${heads}`)).toEqual(['train 2', 'train 1', 'deploy 1']);
    expect(specs[0]?.expected).toEqual({ baseline: LOGITS.reference, arm: LOGITS.deploy });
  });

  test('shares the time among the sessions and gives each the same request', async () => {
    const { specs, events } = await run(options({ batch: 2, size: { height: 16, width: 24 } }), [result(), result()]);
    expect(specs.map(({ quads, threads, seed, engine }) => [quads, threads, seed, engine])).toEqual([
      [24, 1, 1, 'cpu'],
      [24, 1, 1, 'cpu'],
    ]);
    expect(specs[0]?.size).toEqual({ batch: 2, height: 16, width: 24 });
    expect(specs.map(({ budgetMs }) => budgetMs)).toEqual([30_000, 60_000]); // the first one took no time
    expect(events.map((event) => (event.phase === 'time' ? `${event.model} ${event.session}` : event.phase))).toEqual([
      'verify',
      'verify',
      'a 1',
      'b 2',
    ]);
  });

  test.each([
    ['leaves the rest of its share to the next', 5000, 55_000],
    ['that overruns takes nothing from the next', 70_000, 30_000],
  ])('a session %s', async (_what, tookMs, nextMs) => {
    const { specs } = await run(options(), [result(), result()], verifying({}), tookMs);
    expect(specs.map(({ budgetMs }) => budgetMs)).toEqual([30_000, nextMs]);
  });

  test('a quick run has fewer quads in less time', async () => {
    const { report, specs } = await run(options({ quick: true, models: [model('a')] }), [result()]);
    expect(specs[0]?.quads).toBe(8);
    expect(specs[0]?.budgetMs).toBe(15_000);
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
        message: `deploy against reference: not timed, for deploy is not verified (runtime: ${verdict})`,
      },
    ]);
  });

  test('does not time an engine that the verification says nothing of', async () => {
    const { report } = await run(options({ models: [model('a')] }), [], async () => ({ rows: [], logits: new Map() }));
    expect(report.verdict).toBe('inconclusive');
    expect(report.measurements).toEqual([]);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against reference: not timed, for deploy is not verified (no verdict)',
    ]);
  });

  test('a session that fails is a failure, and the next one runs', async () => {
    const { report } = await run(options(), [new Error('the timing process was killed (SIGKILL)'), result()]);
    expect(report.verdict).toBe('fail');
    expect(report.failures).toEqual([
      {
        model: 'a',
        engine: 'cpu',
        stage: 'timing',
        message: 'deploy against reference: the timing process was killed (SIGKILL)',
      },
    ]);
    expect(report.speedups.map((row) => row.model)).toEqual(['b']);
  });

  test('tensors left behind fail the run', async () => {
    const { report } = await run(options(), [result({ tensorsLeaked: 2 }), result()]);
    expect(report.verdict).toBe('fail');
    expect(report.environment.tensorsLeaked).toBe(2);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against reference: 2 tensors were left behind',
    ]);
  });

  test('an engine that runs elsewhere when timed fails the run', async () => {
    const elsewhere = result({ info: { name: 'cpu', version: '1', device: 'GPU', threads: 1 } });
    const { report } = await run(options(), [elsewhere, result()]);
    expect(report.verdict).toBe('fail');
    expect(report.failures.map(({ message }) => message)).toEqual([
      `deploy against reference: it was verified on ${DEVICE}, and ran on GPU when timed`,
    ]);
  });

  test('times the deploy form against the train form, and against every other deploy form', async () => {
    const { report, specs } = await run(options({ models: [threeForms] }), [result(), result()]);
    expect(specs.map(({ pair, expected }) => [pair, expected])).toEqual([
      [
        { baseline: 'reference', arm: 'deploy' },
        { baseline: LOGITS.reference, arm: LOGITS.deploy },
      ],
      [
        { baseline: 'deploy-official', arm: 'deploy' },
        { baseline: LOGITS['deploy-official'], arm: LOGITS.deploy },
      ],
    ]);
    expect(report.speedups.map(({ baseline, arm }) => `${arm} against ${baseline}`)).toEqual([
      'deploy against reference',
      'deploy against deploy-official',
    ]);
    expect(report.measurements.map(({ arm, against }) => `${arm} against ${against}`)).toEqual([
      'reference against deploy',
      'deploy against reference',
      'deploy-official against deploy',
      'deploy against deploy-official',
    ]);
    expect(report.verification.map(({ form, verdict }) => `${form} ${verdict}`)).toEqual([
      'deploy-official pass',
      'deploy pass',
    ]);
    expect(report.verdict).toBe('pass');
  });

  test('a deploy form that is not verified keeps only its own pairs from being timed', async () => {
    const official = verifying({ 'mlp/deploy-official': 'fail' });
    const { report, specs } = await run(options({ models: [threeForms] }), [result()], official);
    expect(specs.map(({ pair }) => pair.baseline)).toEqual(['reference']);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against deploy-official: not timed, for deploy-official is not verified (runtime: fail)',
    ]);
    expect(report.verdict).toBe('fail');
  });

  test('a network whose complete deploy form is not verified is not timed at all', async () => {
    const complete = verifying({ 'mlp/deploy': 'inconclusive' });
    const { report, specs } = await run(options({ models: [threeForms] }), [], complete);
    expect(specs).toEqual([]);
    expect(report.failures.length).toBe(2);
    expect(report.verdict).toBe('inconclusive');
  });

  test('does not time a form whose logits the verification does not give', async () => {
    const silent: VerifyModel = async (...args) => ({
      ...(await verifying({})(...args)),
      logits: new Map([['cpu', { deploy: LOGITS.deploy }]]),
    });
    const { report } = await run(options({ models: [model('a')] }), [], silent);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against reference: not timed, for the verification gave no logits',
    ]);
    expect(report.verdict).toBe('inconclusive');
  });

  test('an engine that is named may take longer', async () => {
    const { specs } = await run(options({ models: [model('a')] }), [slow]);
    const { report, specs: unnamed } = await run(
      options({ models: [model('a')], engines: undefined }),
      Array(5).fill(slow),
    );
    expect([...new Set([...specs, ...unnamed].map(({ longestMs }) => longestMs))]).toEqual([120_000, 60_000]);
    expect(report.skipped.find(({ engine }) => engine === 'cpu')?.reason).toBe(
      'it would take an hour; --engine cpu allows 120 s',
    );
  });

  const slow: SessionSkip = { kind: 'too slow', reason: 'it would take an hour' };

  test('an engine that is too slow is a stated skip, not a failure', async () => {
    const { report } = await run(options(), [slow, result()]);
    expect(report.skipped).toEqual([
      { model: 'a', engine: 'cpu', baseline: 'reference', arm: 'deploy', reason: 'it would take an hour' },
    ]);
    expect(report.failures).toEqual([]);
    expect(report.measurements.map((row) => row.model)).toEqual(['b', 'b']);
    expect(report.verdict).toBe('pass');
  });

  test('a run that timed nothing is no pass', async () => {
    const { report } = await run(options(), [slow, slow]);
    expect(report.verdict).toBe('inconclusive');
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
