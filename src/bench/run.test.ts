import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { FLOAT64, gamma } from '../network/precision.ts';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import type { VerificationRow } from '../report/types.ts';
import { validateReport } from '../report/validate.ts';
import type { ForkedVerification } from './parent.ts';
import { isNull } from './prepare.ts';
import { type BenchDependencies, type BenchProgress, runBench, type VerifyModel } from './run.ts';
import type { SessionResult, SessionSkip, SessionSpec } from './session.ts';
import type { BenchOptions } from './settings.ts';

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
    threads: [1],
    batches: [1],
    size: undefined,
    seed: 1,
    quick: false,
    streams: [],
    profile: false,
    ...rest,
  };
}

/** A verification with this verdict for each model, or for each form of it (`MODEL/FORM`). */
function verifying(verdicts: Readonly<Record<string, VerificationRow['verdict']>>): VerifyModel {
  return async ({ name, deployForms }, engines) => {
    const rows = engines.flatMap(({ info }) =>
      deployForms.map(({ name: form }) => {
        const verdict = verdicts[`${name}/${form}`] ?? verdicts[name] ?? 'pass';
        const tiers = [{ tier: 'runtime', verdict, compared: 5, worst: 0.5 }];
        return { model: name, engine: info.name, form, verdict, tiers };
      }),
    );
    return { rows, logits: new Map(engines.map(({ info }) => [info.name, LOGITS])) };
  };
}

/** What a session gives in which the baseline takes `ratio` times as long as the deploy form's 2 ms. */
function result(
  { pairs }: Pick<SessionSpec, 'pairs'>,
  ratio: number,
  rest: Partial<SessionResult> = {},
): SessionResult {
  const quads = pairs.map((pair) => ({
    ...pair,
    logRatios: Array(3).fill(isNull(pair) ? 0 : Math.log(ratio)),
    checked: 12,
  }));
  return {
    kind: 'timed',
    info: { name: 'cpu', version: '1', device: DEVICE, threads: 1 },
    pairs: quads,
    arms: {
      reference: { inferencesPerSample: 5, samples: [2 * ratio, 1.9 * ratio, 2.2 * ratio] },
      'deploy-official': { inferencesPerSample: 5, samples: [2, 3] },
      deploy: { inferencesPerSample: 10, samples: [2, 1.5, 4] },
    },
    settled: true,
    tensorsLeaked: 0,
    peakRssBytes: 1000,
    ...rest,
  };
}

type Running = Pick<BenchDependencies, 'runProfile' | 'measureStreams' | 'forked'> & {
  tookMs?: number;
  abortAfter?: number;
};

/** Runs with sessions that `answer` gives; an Error is thrown. Each takes a second. */
async function run(
  request: BenchOptions,
  answer: (spec: SessionSpec, nth: number) => SessionResult | SessionSkip | Error = (spec) => result(spec, 2),
  verifyModel: VerifyModel = verifying({}),
  { tookMs = 1000, abortAfter = Number.POSITIVE_INFINITY, ...more }: Running = {},
) {
  let time = 0;
  const controller = new AbortController();
  const specs: SessionSpec[] = [];
  const events: BenchProgress[] = [];
  const runSession: BenchDependencies['runSession'] = async (spec, onProgress) => {
    onProgress({ phase: 'load' });
    time += tookMs;
    if (specs.push(spec) > abortAfter) {
      controller.abort();
      throw new Error('the timing process was killed (SIGKILL)');
    }
    const next = answer(spec, specs.length);
    if (next instanceof Error) throw next;
    return next;
  };
  const { signal } = controller;
  const dependencies = { verifyModel, runSession, now: () => time, signal, ...more };
  const report = await runBench(request, (event) => events.push(event), dependencies);
  return { report: await validateReport(report), specs, events };
}

const sessionsOf = (specs: readonly SessionSpec[]) => specs.map(({ model: { name }, session }) => `${name} ${session}`);

describe('runBench', () => {
  test('reports medians, spread and the ratio of what was verified, over sessions', async () => {
    const ratios = [2, 2.001, 1.999, 2, 2];
    const { report, specs } = await run(options({ models: [model('a')] }), (spec) =>
      result(spec, ratios[spec.session - 1]!),
    );
    expect(report.verdict).toBe('pass');
    expect(report.partial).toBe(false);
    const keys = { model: 'a', engine: 'cpu', threads: 1, batch: 1, resolution: 16 };
    expect(report.measurements).toMatchObject([
      { ...keys, arm: 'reference', latencyMs: 4 },
      { ...keys, arm: 'deploy', latencyMs: 2, minMs: 1.5 },
    ]);
    expect(report.measurements[1]?.sessions.map(({ samplesMs }) => samplesMs)).toEqual(Array(5).fill([2, 1.5, 4]));
    const [row] = report.speedups;
    expect(row).toMatchObject({ ...keys, baseline: 'reference', arm: 'deploy', outcome: 'faster', stopped: 'width' });
    expect(row?.sessions.map(({ estimate }) => estimate.toFixed(3))).toEqual(ratios.map((ratio) => ratio.toFixed(3)));
    const mean = ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length;
    expect(Math.abs(row!.estimate / Math.exp(mean) - 1)).toBeLessThanOrEqual(gamma(16, FLOAT64.unitRoundoff));
    expect([row!.low!.toFixed(3), row!.high!.toFixed(3)]).toEqual(['1.999', '2.001']);
    expect(row?.note).toBe('3 quads a session instead of 24, for the time is limited');
    expect(report.nullControls).toMatchObject([{ ...keys, arm: 'deploy', estimate: 1, strayed: 0, noisy: false }]);
    expect(report.audit.map(({ form, heads }) => `${form} ${heads}`)).toEqual(['train 2', 'train 1', 'deploy 1']);
    expect(report.networks).toEqual([
      { model: 'a', resolution: 16, classes: 4, weightsSha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
    expect(specs[0]?.expected).toEqual({ reference: LOGITS.reference, deploy: LOGITS.deploy });
  });

  test('takes the settings in turns, and gives each session the same request but for its number', async () => {
    const { specs, events } = await run(options({ size: { height: 16, width: 24 }, batches: [2] }));
    expect(sessionsOf(specs)).toEqual(['a 1', 'b 1', 'a 2', 'b 2', 'a 3', 'b 3', 'a 4', 'b 4', 'a 5', 'b 5']);
    expect(new Set(specs.map(({ quads, threads, seed, engine }) => `${quads} ${threads} ${seed} ${engine}`))).toEqual(
      new Set(['24 1 1 cpu']),
    );
    expect(specs[0]?.size).toEqual({ batch: 2, height: 16, width: 24 });
    const timing = events.filter((event) => event.phase === 'time');
    expect(timing.map(({ done, due }) => `${done} of ${due}`).slice(0, 3)).toEqual(['0 of 10', '1 of 10', '2 of 10']);
    expect(timing.at(-1)?.soFar?.sessions).toBe(4);
    expect(timing.map(({ secondsLeft }) => secondsLeft)).toEqual(
      [...timing].map(({ secondsLeft }) => secondsLeft).sort((a, b) => b - a),
    );
  });

  test('stops at a look when the interval is narrow, on width and never on sign', async () => {
    // Three sessions off by 2 % leave an interval that is too wide at five sessions and at eight.
    const noisy = (spec: SessionSpec) => result(spec, spec.model.name === 'a' && spec.session % 3 === 0 ? 2.04 : 2);
    const { report, specs } = await run(options(), noisy);
    expect(report.speedups.map(({ model, sessions, outcome }) => [model, sessions.length, outcome])).toEqual([
      ['a', 12, 'faster'],
      ['b', 5, 'faster'],
    ]);
    expect(sessionsOf(specs).slice(10)).toEqual(['a 6', 'a 7', 'a 8', 'a 9', 'a 10', 'a 11', 'a 12']);
  });

  test('what is not narrow after twelve sessions is inconclusive, and says so', async () => {
    const wild = (spec: SessionSpec) => result(spec, spec.session % 2 === 0 ? 2.5 : 2);
    const { report } = await run(options({ models: [model('a')] }), wild);
    const [row] = report.speedups;
    expect([row?.outcome, row?.stopped, row?.sessions.length]).toEqual(['inconclusive', 'sessions', 12]);
    expect(row?.low).toBeGreaterThan(1);
    expect(row?.note).toMatch(/^9\.\d % to either side after 12 sessions, where 1 % is asked for/);
    expect(report.verdict).toBe('pass');
  });

  test('goes on to the next look only where the time lasts for it', async () => {
    const wild = (spec: SessionSpec) => result(spec, spec.session % 2 === 0 ? 2.5 : 2);
    const { report, specs } = await run(options(), wild, undefined, { tookMs: 11_000 });
    // 110 of 120 s are spent on the first look.
    expect(specs.length).toBe(10);
    expect(report.speedups.map(({ stopped }) => stopped)).toEqual(['time', 'time']);
    expect(report.speedups[0]?.note).toContain('the time was up');
  });

  test('a null control that strays in more than a third of the sessions makes the machine too noisy', async () => {
    const strays = (spec: SessionSpec, sessions: number) => {
      const good = result(spec, 2);
      const pairs = good.pairs.map((pair) =>
        isNull(pair) && spec.session <= sessions ? { ...pair, logRatios: [0.02, 0.02] } : pair,
      );
      return { ...good, pairs };
    };
    const one = await run(options({ models: [model('a')] }), (spec) => strays(spec, 1));
    const two = await run(options({ models: [model('a')] }), (spec) => strays(spec, 2));
    expect([one, two].map(({ report }) => report.nullControls[0])).toMatchObject([
      { strayed: 1, noisy: false },
      { strayed: 2, noisy: true },
    ]);
    expect(two.report.speedups[0]?.note).toContain('this machine is too noisy');
  });

  test('networks of one setting have a geometric mean, and their p values are corrected', async () => {
    const { report } = await run(options(), (spec) => result(spec, spec.model.name === 'a' ? 1 : 4));
    expect(report.suites).toMatchObject([{ engine: 'cpu', baseline: 'reference', arm: 'deploy', models: ['a', 'b'] }]);
    expect(Math.abs(report.suites[0]!.estimate / 2 - 1)).toBeLessThanOrEqual(gamma(8, FLOAT64.unitRoundoff));
    expect(report.speedups.map(({ pValue, pHolm, outcome }) => [pValue, pHolm, outcome])).toEqual([
      [1, 1, 'no difference shown'],
      [0, 0, 'faster'],
    ]);
  });

  test('a quick run has fewer quads in less time', async () => {
    const { report, specs } = await run(options({ quick: true, models: [model('a')] }));
    expect(specs[0]?.quads).toBe(8);
    expect(specs[0]?.budgetMs).toBeLessThan((await run(options({ models: [model('a')] }))).specs[0]!.budgetMs);
    expect(report.environment.quick).toBe(true);
    expect(report.environment.plan).toMatchObject({ looks: [5, 8, 12], halfWidth: 0.01, quads: 8 });
  });

  test('times every batch', async () => {
    const { report, specs } = await run(options({ models: [model('a')], batches: [1, 4] }));
    expect(specs.slice(0, 2).map(({ size }) => size.batch)).toEqual([1, 4]);
    expect(report.speedups.map(({ batch }) => batch)).toEqual([1, 4]);
    expect(report.verification.map(({ batch }) => batch)).toEqual([1, 4]);
    expect(report.networks.length).toBe(1);
  });

  test('an engine that cannot be told its threads is timed once', async () => {
    const { report } = await run(options({ models: [model('a')], threads: [1, 2] }));
    expect(report.speedups.map(({ threads }) => threads)).toEqual([1]);
    expect(report.environment.engines.length).toBe(1);
  });

  describe('an engine that cannot change its threads in a process', () => {
    const web = { name: 'onnxruntime-web', version: '1', device: 'CPU (WebAssembly SIMD)', precision: undefined };
    const request = options({ models: [model('a')], engines: ['onnxruntime-web'], threads: [1, 2] });
    const answer = ({ pairs, threads = 0 }: SessionSpec) => {
      const timed = result({ pairs }, 2, { info: { ...web, threads } });
      return { ...timed, arms: { ...timed.arms, 'reference-raw': { inferencesPerSample: 1, samples: [9] } } };
    };
    const forked = (verify: ForkedVerification['verify']): ForkedVerification => ({
      describe: async ({ threads }) => ({
        optimised: { ...web, threads, optimisation: 'all' },
        raw: { ...web, threads, name: 'onnxruntime-web (graph optimisation off)' },
      }),
      verify,
    });

    test('is verified with the others in a process of its own, and timed with each', async () => {
      const asked: unknown[] = [];
      const rows = ['onnxruntime-web', 'onnxruntime-web (graph optimisation off)'].map((engine) => {
        const tiers = [{ tier: 'runtime', verdict: 'pass' as const, compared: 7, worst: 0.5 }];
        return { model: 'a', engine, form: 'deploy' as const, verdict: 'pass' as const, tiers };
      });
      const elsewhere = forked(async ({ model: { name }, engine, threads, seed }, onProgress) => {
        asked.push([name, engine, threads, seed]);
        onProgress({ form: 'deploy', done: 1, total: 2 });
        return { rows, logits: new Map(rows.map(({ engine: own }) => [own, LOGITS])) };
      });
      const { report, specs, events } = await run(request, answer, verifying({}), { forked: elsewhere });
      expect(asked).toEqual([['a', 'onnxruntime-web', 2, 1]]);
      expect(report.verification.map(({ threads, tiers }) => `${threads}: ${tiers[0]?.compared}`)).toEqual([
        '1: 5',
        '1: 5',
        '2: 7',
        '2: 7',
      ]);
      expect(events).toContainEqual(expect.objectContaining({ phase: 'verify', form: 'deploy', done: 1, total: 2 }));
      expect(report.environment.engines.map(({ name, threads }) => `${name} ${threads}`)).toEqual([
        'onnxruntime-web 1',
        'onnxruntime-web 2',
      ]);
      expect(specs.slice(0, 2).map(({ threads, expected }) => [threads, expected.deploy])).toEqual([
        [1, LOGITS.deploy],
        [2, LOGITS.deploy],
      ]);
      expect(report.verdict).toBe('pass');
    });

    test('a process that fails to verify it is a failure, and stops no other', async () => {
      const elsewhere = forked(async () => Promise.reject(new Error('the verifying process was killed (SIGKILL)')));
      const { report } = await run(request, answer, verifying({}), { forked: elsewhere });
      expect(report.speedups.map(({ threads }) => threads)).toEqual([1, 1]);
      expect(report.failures.map(({ engine, stage, message }) => `${engine}, ${stage}: ${message}`)).toEqual([
        'onnxruntime-web, verification: the verifying process was killed (SIGKILL)',
      ]);
      expect(report.verdict).toBe('inconclusive');
    });
  });

  test.each([
    ['fail', 'fail'],
    ['inconclusive', 'inconclusive'],
    ['nothing compared', 'inconclusive'],
  ] as const)('does not time what is not verified: %s', async (verdict, whole) => {
    const { report, specs } = await run(options(), undefined, verifying({ a: verdict }));
    expect(new Set(specs.map((spec) => spec.model.name))).toEqual(new Set(['b']));
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
    const silent: VerifyModel = async () => ({ rows: [], logits: new Map() });
    const { report, specs } = await run(options({ models: [model('a')] }), undefined, silent);
    expect(report.verdict).toBe('inconclusive');
    expect(specs).toEqual([]);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against reference: not timed, for deploy is not verified (no verdict)',
    ]);
  });

  test('a session that fails is a failure and ends its setting; the others go on', async () => {
    const { report, specs } = await run(options(), (spec, nth) =>
      nth === 3 ? new Error('the timing process was killed (SIGKILL)') : result(spec, 2),
    );
    expect(report.verdict).toBe('fail');
    expect(report.failures).toEqual([
      {
        model: 'a',
        engine: 'cpu',
        stage: 'timing',
        message: 'session 2: the timing process was killed (SIGKILL)',
      },
    ]);
    expect(sessionsOf(specs)).toEqual(['a 1', 'b 1', 'a 2', 'b 2', 'b 3', 'b 4', 'b 5']);
    expect(report.speedups.map(({ model, stopped, low }) => [model, stopped, low === null])).toEqual([
      ['a', 'failed', true],
      ['b', 'width', false],
    ]);
  });

  test('tensors left behind fail the run', async () => {
    const { report } = await run(options(), (spec, nth) => result(spec, 2, { tensorsLeaked: nth === 1 ? 2 : 0 }));
    expect(report.verdict).toBe('fail');
    expect(report.environment.tensorsLeaked).toBe(2);
    expect(report.failures.map(({ message }) => message)).toEqual(['session 1: 2 tensors were left behind']);
  });

  test('an engine that runs elsewhere when timed fails the run', async () => {
    const info = { name: 'cpu', version: '1', device: 'GPU', threads: 1 };
    const { report } = await run(options({ models: [model('a')] }), (spec) => result(spec, 2, { info }));
    expect(report.verdict).toBe('fail');
    expect(report.failures.map(({ message }) => message)).toEqual([
      `session 1: it was verified on ${DEVICE}, and ran on GPU when timed`,
    ]);
  });

  test('times the deploy form against the train form, every other deploy form, and itself', async () => {
    const { report, specs } = await run(options({ models: [threeForms] }));
    expect(specs[0]?.pairs).toEqual([
      { baseline: 'reference', arm: 'deploy' },
      { baseline: 'deploy-official', arm: 'deploy' },
      { baseline: 'deploy', arm: 'deploy' },
    ]);
    expect(specs[0]?.expected).toEqual(LOGITS);
    expect(report.speedups.map(({ baseline, arm }) => `${arm} against ${baseline}`)).toEqual([
      'deploy against reference',
      'deploy against deploy-official',
    ]);
    expect(report.measurements.map(({ arm }) => arm)).toEqual(['reference', 'deploy-official', 'deploy']);
    expect(report.verification.map(({ form, verdict }) => `${form} ${verdict}`)).toEqual([
      'deploy-official pass',
      'deploy pass',
    ]);
    expect(report.verdict).toBe('pass');
  });

  test('an engine that optimises by itself is timed on the raw train form, too', async () => {
    const answer = (spec: SessionSpec) => {
      const timed = result(spec, 2, { info: { name: 'onnxruntime', version: '1', device: 'CPU', threads: 1 } });
      return { ...timed, arms: { ...timed.arms, 'reference-raw': { inferencesPerSample: 1, samples: [9] } } };
    };
    const { report } = await run(options({ models: [model('a')], engines: ['onnxruntime'] }), answer);
    expect(report.speedups.map(({ baseline }) => baseline)).toEqual(['reference-raw', 'reference']);
    expect(report.measurements.find(({ arm }) => arm === 'reference-raw')?.latencyMs).toBe(9);
    expect(report.verification.map(({ engine }) => engine)).toEqual([
      'onnxruntime',
      'onnxruntime (graph optimisation off)',
    ]);
    expect(report.environment.engines).toMatchObject([{ optimisation: 'graph optimisation: all', software: false }]);
  });

  test('a deploy form that is not verified keeps only its own pairs from being timed', async () => {
    const official = verifying({ 'mlp/deploy-official': 'fail' });
    const { report, specs } = await run(options({ models: [threeForms] }), undefined, official);
    expect(specs[0]?.pairs.map(({ baseline }) => baseline)).toEqual(['reference', 'deploy']);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against deploy-official: not timed, for deploy-official is not verified (runtime: fail)',
    ]);
    expect(report.verdict).toBe('fail');
  });

  test('a network whose complete deploy form is not verified is not timed at all', async () => {
    const complete = verifying({ 'mlp/deploy': 'inconclusive' });
    const { report, specs } = await run(options({ models: [threeForms] }), undefined, complete);
    expect(specs).toEqual([]);
    expect(report.failures.length).toBe(2);
    expect(report.verdict).toBe('inconclusive');
  });

  test('does not time a form whose logits the verification does not give', async () => {
    const silent: VerifyModel = async (...args) => ({
      ...(await verifying({})(...args)),
      logits: new Map([['cpu', { deploy: LOGITS.deploy }]]),
    });
    const { report } = await run(options({ models: [model('a')] }), undefined, silent);
    expect(report.failures.map(({ message }) => message)).toEqual([
      'deploy against reference: not timed, for the verification gave no logits',
    ]);
    expect(report.verdict).toBe('inconclusive');
  });

  const slow: SessionSkip = { kind: 'too slow', neededMs: 20_000 };

  test('an engine that is too slow is a stated skip, not a failure; one that is named may take longer', async () => {
    const { report, specs } = await run(options(), (spec) => (spec.model.name === 'a' ? slow : result(spec, 2)));
    const reason = '5 sessions would take 100 s or more, over the limit of 600 s';
    expect(report.skipped).toEqual([{ model: 'a', engine: 'cpu', threads: 1, batch: 1, reason }]);
    expect(report.failures).toEqual([]);
    expect(report.measurements.map((row) => row.model)).toEqual(['b', 'b']);
    expect(report.verdict).toBe('pass');
    const unnamed = await run(options({ models: [model('a')], engines: undefined }), () => slow);
    expect([...new Set([...specs, ...unnamed.specs].map(({ longestMs }) => longestMs))]).toEqual([120_000, 12_000]);
    expect(unnamed.report.skipped.find(({ engine }) => engine === 'cpu')?.reason).toBe(
      '5 sessions would take 100 s or more, over the limit of 60 s; --engine cpu allows 600 s',
    );
  });

  test('a run that timed nothing is no pass', async () => {
    const { report } = await run(options(), () => slow);
    expect(report.verdict).toBe('inconclusive');
  });

  test('says when the warm-up had not settled', async () => {
    const { report } = await run(options({ models: [model('a')] }), (spec) =>
      result(spec, 2, { settled: spec.session > 1 }),
    );
    expect(report.speedups[0]?.note).toContain('the warm-up had not settled to 1 % in 1 of 5 sessions');
  });

  test('throughput and profile are measured where they are asked for', async () => {
    const asked = options({ models: [threeForms], streams: [1, 2], profile: true });
    const { info } = result({ pairs: [] }, 1);
    const peakGflops = 100;
    const steps = [
      { name: 'fc', op: 'linear', milliseconds: 3, macs: 6e6 },
      { name: 'act', op: 'relu', milliseconds: 1, macs: undefined },
    ];
    const { report } = await run(asked, undefined, undefined, {
      runProfile: async ({ arm }) =>
        arm === 'deploy'
          ? { kind: 'profiled', info, inferences: 9, steps, peakGflops }
          : { kind: 'unsupported', reason: 'it cannot' },
      measureStreams: async ({ model: { name } }, { streams, latencyMs }) =>
        streams.map((count) => ({
          ...{ model: name, engine: 'cpu', threads: 1, batch: 1, resolution: 16, arm: 'deploy', streams: count },
          ...{
            seconds: 2,
            inferences: 4,
            imagesPerSecond: 2,
            latencyMs: latencyMs('deploy'),
            p95Ms: 3,
            checkedOutputs: 1,
          },
        })),
    });
    expect(report.throughput.map(({ streams, latencyMs }) => [streams, latencyMs])).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(report.profiles).toEqual([
      {
        ...{ model: 'mlp', engine: 'cpu', threads: 1, batch: 1, resolution: 16, arm: 'deploy' },
        ...{ inferences: 9, totalMs: 4, peakGflops: 100 },
        nodes: [
          { name: 'fc', op: 'linear', milliseconds: 3, share: 0.75, macs: 6e6, gflops: 4, peakShare: 0.04 },
          { name: 'act', op: 'relu', milliseconds: 1, share: 0.25, macs: null, gflops: null, peakShare: null },
        ],
      },
    ]);
    expect(report.verdict).toBe('pass');
  });

  test('a stream or a profile that fails is a failure of its stage', async () => {
    const { report } = await run(options({ models: [model('a')], streams: [1], profile: true }), undefined, undefined, {
      runProfile: async () => Promise.reject(new Error('no profile')),
      measureStreams: async () => Promise.reject(new Error('no stream')),
    });
    expect(report.failures.map(({ stage, message }) => `${stage}: ${message}`)).toEqual([
      'throughput: no stream',
      'profile: no profile',
      'profile: no profile',
    ]);
    expect(report.verdict).toBe('fail');
  });

  test('an interrupted run keeps the sessions that are complete and is partial', async () => {
    const { report, specs } = await run(options(), undefined, undefined, { abortAfter: 3 });
    expect(specs.length).toBe(4);
    expect(report.partial).toBe(true);
    expect(report.verdict).toBe('inconclusive');
    expect(report.failures).toEqual([]);
    expect(report.speedups.map(({ model, stopped, sessions }) => [model, stopped, sessions.length])).toEqual([
      ['a', 'interrupted', 2],
      ['b', 'interrupted', 1],
    ]);
  });

  test('a run that is interrupted while it verifies keeps what is verified', async () => {
    const controller = new AbortController();
    const verifyModel: VerifyModel = async (prepared, engines, onProgress) => {
      if (prepared.name === 'b') controller.abort();
      onProgress('deploy', 1, 2);
      return verifying({})(prepared, engines, onProgress);
    };
    const report = await runBench(options(), () => {}, { verifyModel, signal: controller.signal });
    expect(report.verification.map((row) => row.model)).toEqual(['a']);
    expect(report.partial).toBe(true);
    expect(report.speedups).toEqual([]);
  });

  test('finds a size that is too small before anything is verified', async () => {
    const refuse: VerifyModel = async () => {
      throw new Error('verified');
    };
    const small = { ...model('small'), resolution: 2 };
    await expect(run(options({ models: [model('a'), small] }), undefined, refuse)).rejects.toThrow(InputError);
  });
});
