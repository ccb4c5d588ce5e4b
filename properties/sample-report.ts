/** A report for tests: one network on three engines, faster, undecided and failed; one engine absent. */
import type { Measurement, NullControl, Report, Speedup } from '../src/report/types.ts';

export const setting = { model: 'repvit_m0_9', threads: 1, batch: 1, resolution: 224 };

export function measured(engine: string, arm: Measurement['arm'], latencyMs: number): Measurement {
  const session = { session: 1, medianMs: latencyMs, inferencesPerSample: 2 };
  return {
    ...setting,
    engine,
    arm,
    latencyMs,
    minMs: latencyMs - 1,
    p05Ms: latencyMs - 0.5,
    p95Ms: latencyMs + 1,
    sessions: [{ ...session, samplesMs: [latencyMs, latencyMs] }],
  };
}

/** What one session says of a pair. */
function said(estimate: number): Speedup['sessions'] {
  return [
    { session: 1, estimate, plannedQuads: 24, logRatios: [Math.log(estimate)], checkedOutputs: 4, settled: true },
  ];
}

export function ratio(engine: string, low: number, estimate: number, high: number, note = ''): Speedup {
  return {
    ...setting,
    engine,
    baseline: 'reference',
    arm: 'deploy',
    estimate,
    low,
    high,
    confidence: 0.95,
    halfWidth: Math.log(high / low) / 2,
    outcome: note === '' ? 'faster' : 'inconclusive',
    stopped: note === '' ? 'width' : 'time',
    pValue: 0.01,
    pHolm: 0.02,
    method: 'Hodges-Lehmann',
    note,
    sessions: said(estimate),
  };
}

function control(engine: string, noisy: boolean): NullControl {
  const interval = { estimate: 1.0012, low: 0.9981, high: 1.0043, confidence: 0.95 };
  return { ...setting, engine, arm: 'deploy', ...interval, strayed: Number(noisy), noisy, sessions: said(1.0012) };
}

export function sampleReport(): Report {
  const tiers: Report['verification'][number]['tiers'] = [
    { tier: 'structure', verdict: 'pass', compared: 763, worst: null },
    { tier: 'runtime, deploy', verdict: 'pass', compared: 1_234_567, worst: 0.358 },
  ];
  const [first, ...rest] = tiers;
  if (first === undefined) throw new Error('no tier');
  const failed = [first, ...rest.map((tier) => ({ ...tier, verdict: 'fail' as const, worst: 12.5 }))];
  return {
    schemaVersion: 2,
    verdict: 'fail',
    partial: false,
    measurements: [
      measured('onnxruntime', 'reference', 11.8),
      measured('onnxruntime', 'deploy', 10.7),
      measured('cpu', 'reference', 1830.4),
      measured('cpu', 'deploy', 1771.6),
    ],
    speedups: [ratio('onnxruntime', 1.08912, 1.1, 1.12699), ratio('cpu', 0.99, 1.033, 1.05, 'the time was up')],
    nullControls: [control('onnxruntime', false), control('cpu', true)],
    suites: [],
    throughput: [],
    profiles: [],
    networks: [],
    skipped: [],
    audit: [],
    verification: [
      { model: 'repvit_m0_9', engine: 'onnxruntime', threads: 1, batch: 1, form: 'deploy', verdict: 'pass', tiers },
      { model: 'repvit_m0_9', engine: 'cpu', threads: 1, batch: 1, form: 'deploy', verdict: 'pass', tiers },
      { model: 'repvit_m0_9', engine: 'wasm', threads: 1, batch: 1, form: 'deploy', verdict: 'fail', tiers: failed },
    ],
    failures: [
      {
        model: 'repvit_m0_9',
        engine: 'wasm',
        stage: 'verification',
        message: 'deploy against reference: not timed, for deploy is not verified (runtime, deploy: fail)',
      },
    ],
    environment: {
      date: '2025-06-11T12:00:00.000Z',
      elapsedSeconds: 123.4,
      quick: false,
      seed: 1,
      plan: { looks: [5, 8, 12], halfWidth: 0.01, quads: 24, sampleMs: 20, seconds: 170 },
      fuseproof: '0.1.0',
      commit: null,
      node: 'v20.20.2',
      platform: 'Linux 6.1 x64',
      cpu: 'Some CPU',
      cores: 2,
      memoryBytes: 8 * 2 ** 30,
      loadAverageBefore: [0.1, 0.2, 0.3],
      loadAverageAfter: [1.1, 0.5, 0.4],
      stealPercent: null,
      peakRssBytes: 300 * 2 ** 20,
      tensorsLeaked: 0,
      engines: [
        {
          name: 'onnxruntime',
          version: '1.30.0',
          device: 'CPU',
          threads: 1,
          optimisation: 'graph optimisation: all',
          software: false,
        },
      ],
      absent: [{ name: 'tfjs-node', reason: 'not installed', fix: 'npm run tensorflow' }],
    },
  };
}
