/** Generated from schema/report.schema.json by `npm run schema`: change that file, then run it. */

/**
 * A form of a network: the train form as it is (reference), the original's deploy form where that leaves batch norms, or the complete deploy form.
 */
export type Arm = 'reference' | 'deploy-official' | 'deploy';
/**
 * Pixels of the input: one number where it is square, else [height, width].
 */
export type Resolution = number | [number, number];
/**
 * The deploy form that was held against the train form.
 */
export type DeployFormName = 'deploy-official' | 'deploy';
/**
 * Only pass is a pass.
 */
export type Verdict = 'pass' | 'fail' | 'inconclusive' | 'nothing compared';
/**
 * Load average over 1, 5 and 15 minutes.
 *
 * @minItems 3
 * @maxItems 3
 */
export type LoadAverage = [number, number, number];

/**
 * What one run of `fuseproof bench` verified, counted and timed (reports/latest.json).
 */
export interface Report {
  /**
   * Version of this format; it rises when a field changes its meaning or goes away.
   */
  schemaVersion: 1;
  /**
   * Of the whole run: pass only where every verification passed, no timing failed and something was timed. Exit code 0, 1 or 3.
   */
  verdict: 'pass' | 'fail' | 'inconclusive';
  /**
   * Latency of each form of each network on each engine, in each session that timed it.
   */
  measurements: Measurement[];
  /**
   * Latency of one form (baseline) over latency of another (arm), estimated from paired samples; above 1 the arm is faster.
   */
  speedups: Speedup[];
  /**
   * What was verified and then not timed on purpose, for it would take too long; changes no verdict as long as anything was timed.
   */
  skipped: Skipped[];
  /**
   * Exact counts, as `fuseproof audit --json` gives them.
   */
  audit: AuditRow[];
  /**
   * What was proved of the very networks that were timed, in the same run.
   */
  verification: VerificationRow[];
  /**
   * What went wrong or was not timed; empty where nothing. With any entry the verdict is not pass.
   */
  failures: Failure[];
  environment: Environment;
}
/**
 * Latency of one form of one network on one engine, in one session.
 */
export interface Measurement {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * The form that was timed.
   */
  arm: Arm;
  /**
   * The other form of its session, which it was interleaved with.
   */
  against: Arm;
  /**
   * Threads that the engine says it used.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  resolution: Resolution;
  /**
   * Median over the samples of the time of one inference of the batch, including read-back of its logits.
   */
  latencyMs: number;
  /**
   * Fastest sample.
   */
  minMs: number;
  /**
   * 5 % quantile of the samples.
   */
  p05Ms: number;
  /**
   * 95 % quantile of the samples.
   */
  p95Ms: number;
  /**
   * Inferences that one sample is the mean of: as many as fill 20 ms.
   */
  inferencesPerSample: number;
  /**
   * Every sample in the order of timing, two a quad; none is left out.
   *
   * @minItems 1
   *
   * Items: One sample.
   */
  samplesMs: [number, ...number[]];
}
/**
 * How many times faster one form of a network is than another on one engine.
 */
export interface Speedup {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * The form that the other is held against.
   */
  baseline: Arm;
  /**
   * The form whose gain is asked for.
   */
  arm: Arm;
  /**
   * Latency of the baseline over latency of the arm: exp of the Hodges-Lehmann median of logRatios.
   */
  estimate: number;
  /**
   * Lower end of the interval.
   */
  low: number;
  /**
   * Upper end of the interval.
   */
  high: number;
  /**
   * Exact level of the interval within this one session: at least 0.95 from six quads on.
   */
  confidence: number;
  /**
   * Quads (ABBA or BAAB) that were timed.
   */
  quads: number;
  /**
   * Quads that the run aims at; a slow engine gets fewer, to keep within the time budget.
   */
  plannedQuads: number;
  /**
   * Samples whose logits were compared, bit for bit, with the verified ones: all of them.
   */
  checkedOutputs: number;
  /**
   * The estimator and what it was applied to.
   */
  method: string;
  /**
   * What a reader must know about this number; empty where nothing.
   */
  note: string;
  /**
   * ln(baseline / arm) of each quad, in the order of timing.
   *
   * @minItems 1
   *
   * Items: Of one quad.
   */
  logRatios: [number, ...number[]];
}
/**
 * Two forms of a network that were not timed against each other on an engine.
 */
export interface Skipped {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * The form that the other is held against.
   */
  baseline: Arm;
  /**
   * The form whose gain is asked for.
   */
  arm: Arm;
  /**
   * Why, in one line.
   */
  reason: string;
}
/**
 * Exact counts of one form of one network for one image.
 */
export interface AuditRow {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Train-time form, the original's deploy form where that leaves batch norms, or complete deploy form.
   */
  form: 'train' | 'deploy-official' | 'deploy';
  /**
   * Classification heads.
   */
  heads: 1 | 2;
  /**
   * The family's kind of block, null where it has one: RepVGGDW with an outer BN (current), or with two ConvNorms (legacy).
   */
  flavour: string | null;
  resolution: Resolution;
  /**
   * Elements of PyTorch's parameters(): weights and biases, those of BatchNorm too.
   */
  parameters: number;
  /**
   * Elements of the running statistics, without num_batches_tracked.
   */
  buffers: number;
  /**
   * Multiply-accumulates of convolutions and linear layers.
   */
  macs: number;
  /**
   * What fvcore calls flops: macs, and 2 for each element that a BatchNorm puts out.
   */
  fvcore: number;
  /**
   * Elements that convolutions and linear layers put out.
   */
  activations: number;
  /**
   * Elements of the initialisers of an ONNX export in eval mode.
   */
  initialisers: number;
  /**
   * Bytes of parameters and buffers in float32.
   */
  weightBytes: number;
  /**
   * Operations of the network.
   */
  nodes: number;
  /**
   * Published figures that are right for this row, rounded to their printed decimals.
   */
  published: PublishedFit[];
}
/**
 * A published figure that is right for a row of the audit.
 */
export interface PublishedFit {
  /**
   * Where it was published.
   */
  source: string;
  /**
   * What it counts.
   */
  kind: 'parameters' | 'macs' | 'activations' | 'initialisers';
  /**
   * The number as printed.
   */
  printed: string;
  /**
   * What it is in: ones, millions or thousand millions.
   */
  unit: '' | 'M' | 'G';
  /**
   * Column of the row that it is right for.
   */
  counting: 'parameters' | 'buffers' | 'macs' | 'fvcore' | 'activations' | 'initialisers' | 'weightBytes';
}
/**
 * Verdict on one deploy form of one network on one engine.
 */
export interface VerificationRow {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  form: DeployFormName;
  verdict: Verdict;
  /**
   * The tiers that were applied; every one must pass.
   */
  tiers: TierRow[];
}
/**
 * One question of the verification and its answer.
 */
export interface TierRow {
  /**
   * Name of the tier.
   */
  tier: string;
  verdict: Verdict;
  /**
   * Elements that were compared.
   */
  compared: number;
  /**
   * Largest error over its bound; null where the tier compares by equality, or where that is no finite number.
   */
  worst: number | null;
}
/**
 * Something that went wrong.
 */
export interface Failure {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine; null where it concerns all.
   */
  engine: string | null;
  /**
   * What was being done.
   */
  stage: 'verification' | 'timing';
  /**
   * What happened, in one line.
   */
  message: string;
}
/**
 * Where, when and with what the run was made.
 */
export interface Environment {
  /**
   * Start of the run, ISO 8601 in UTC.
   */
  date: string;
  /**
   * Length of the run.
   */
  elapsedSeconds: number;
  /**
   * Whether the run was a short one (--quick).
   */
  quick: boolean;
  /**
   * Seed of the weights, the input and the order of the quads.
   */
  seed: number;
  /**
   * Version of fuseproof.
   */
  fuseproof: string;
  /**
   * Commit of fuseproof's own checkout, with -dirty where it differs; null where it is none.
   */
  commit: string | null;
  /**
   * Version of Node.
   */
  node: string;
  /**
   * Operating system, its release and the architecture.
   */
  platform: string;
  /**
   * Model of the CPU.
   */
  cpu: string;
  /**
   * Logical cores that the process may use.
   */
  cores: number;
  /**
   * Memory of the machine.
   */
  memoryBytes: number;
  loadAverageBefore: LoadAverage;
  loadAverageAfter: LoadAverage;
  /**
   * CPU time that the hypervisor took during the run, of all; null where the system does not say.
   */
  stealPercent: number | null;
  /**
   * Largest resident set of any process that timed; null where none ran.
   */
  peakRssBytes: number | null;
  /**
   * Tensors that engines still held after a session; more than 0 fails it. Null where no engine that ran counts them.
   */
  tensorsLeaked: number | null;
  /**
   * Engines that were used, as the runtimes themselves say.
   */
  engines: EngineRow[];
  /**
   * Engines that are not here.
   */
  absent: AbsentEngine[];
}
/**
 * An engine that was used.
 */
export interface EngineRow {
  /**
   * Name of the engine.
   */
  name: string;
  /**
   * Version of the runtime.
   */
  version: string;
  /**
   * Device that it really ran on.
   */
  device: string;
  /**
   * Threads that it used.
   */
  threads: number;
}
/**
 * An engine that is not here.
 */
export interface AbsentEngine {
  /**
   * Name of the engine.
   */
  name: string;
  /**
   * Why it is not here.
   */
  reason: string;
  /**
   * What would bring it.
   */
  fix: string;
}
