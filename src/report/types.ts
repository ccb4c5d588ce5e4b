/** Generated from schema/report.schema.json by `npm run schema`: change that file, then run it. */

/**
 * Pixels of the input: one number where it is square, else [height, width].
 */
export type Resolution = number | [number, number];
/**
 * What is timed of a network: the train form with the engine's own graph optimisation off (reference-raw), the train form as the engine optimises it (reference), the original's deploy form where that leaves batch norms, or the complete deploy form.
 */
export type Arm = 'reference-raw' | 'reference' | 'deploy-official' | 'deploy';
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
  schemaVersion: 2;
  /**
   * Of the whole run: pass only where every verification passed, no timing failed, something was timed and the run is whole. Exit code 0, 1 or 3.
   */
  verdict: 'pass' | 'fail' | 'inconclusive';
  /**
   * Whether the run was interrupted: what stands here is complete, but sessions or settings are missing.
   */
  partial: boolean;
  /**
   * Latency of each arm of each network in each setting, over all its sessions.
   */
  measurements: Measurement[];
  /**
   * Latency of one arm (baseline) over latency of another, estimated from paired samples with sessions as replicates; above 1 the arm is faster.
   */
  speedups: Speedup[];
  /**
   * The same form loaded twice and timed against itself, in the very sessions of the speed-ups: what the method finds where nothing is to be found.
   */
  nullControls: NullControl[];
  /**
   * Speed-ups of several networks in one setting, together.
   */
  suites: Suite[];
  /**
   * Images per second with several concurrent streams; empty unless asked for (--streams).
   */
  throughput: Throughput[];
  /**
   * Where the time of one inference goes, node by node; empty unless asked for (--profile).
   */
  profiles: Profile[];
  /**
   * The networks of the run.
   */
  networks: NetworkRow[];
  /**
   * What was verified and then not timed on purpose, for it would take too long; changes no verdict as long as anything was timed.
   */
  skipped: Skipped[];
  /**
   * Exact counts, as `fuseproof audit --json` gives them.
   */
  audit: AuditRow[];
  /**
   * Every published figure of these networks, beside what is counted; absent in reports of older versions.
   */
  figures?: FigureRow[];
  /**
   * Published accuracies of these networks on ImageNet-1k; fuseproof measures none.
   */
  accuracies?: AccuracyRow[];
  killMatrix?: KillMatrixReport;
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
 * Latency of one arm of one network in one setting.
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
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  resolution: Resolution;
  /**
   * What was timed.
   */
  arm: Arm;
  /**
   * Median over the sessions of their medians: the time of one inference of the batch, including read-back of its logits.
   */
  latencyMs: number;
  /**
   * Fastest sample.
   */
  minMs: number;
  /**
   * 5 % quantile of all samples.
   */
  p05Ms: number;
  /**
   * 95 % quantile of all samples.
   */
  p95Ms: number;
  /**
   * One for each session, a fresh process each.
   *
   * @minItems 1
   */
  sessions: [SessionSamples, ...SessionSamples[]];
}
/**
 * Every sample of one arm in one session; none is left out.
 */
export interface SessionSamples {
  /**
   * Number of the session within its setting, from 1.
   */
  session: number;
  /**
   * Median of its samples.
   */
  medianMs: number;
  /**
   * Inferences that one sample is the mean of: as many as fill 20 ms.
   */
  inferencesPerSample: number;
  /**
   * In the order of timing, all pairs of forms together.
   *
   * @minItems 1
   *
   * Items: One sample.
   */
  samplesMs: [number, ...number[]];
}
/**
 * How many times faster one arm of a network is than another in one setting.
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
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  resolution: Resolution;
  /**
   * The arm that the other is held against.
   */
  baseline: Arm;
  /**
   * The arm whose gain is asked for.
   */
  arm: Arm;
  /**
   * Latency of the baseline over latency of the arm: exp of the mean over sessions of their Hodges-Lehmann medians.
   */
  estimate: number;
  /**
   * Lower end of the interval: t over sessions. Null where there is one session only.
   */
  low: number | null;
  /**
   * Upper end of the interval; null where low is.
   */
  high: number | null;
  /**
   * Level of the interval, over all looks at which the sessions might have stopped.
   */
  confidence: number;
  /**
   * Half of the interval's width on the log scale; 0.01 is about one per cent. Null where low is.
   */
  halfWidth: number | null;
  /**
   * What the interval says of the arm; inconclusive where it never came to the width aimed at.
   */
  outcome: 'faster' | 'slower' | 'no difference shown' | 'inconclusive';
  /**
   * Why no further session was run: the interval was narrow enough, the most sessions were run, the time was up, the run was interrupted, or a session failed.
   */
  stopped: 'width' | 'sessions' | 'time' | 'interrupted' | 'failed';
  /**
   * Two-sided p of "no difference", from t over sessions, times the number of looks; null where low is.
   */
  pValue: number | null;
  /**
   * pValue after Holm's correction across all speed-ups of the run; null where low is.
   */
  pHolm: number | null;
  /**
   * The estimator and what it was applied to.
   */
  method: string;
  /**
   * What a reader must know about this number; empty where nothing.
   */
  note: string;
  /**
   * One for each session, in the order of timing.
   *
   * @minItems 1
   */
  sessions: [SessionRatio, ...SessionRatio[]];
}
/**
 * What one session, a fresh process, says of one pair of arms.
 */
export interface SessionRatio {
  /**
   * Number of the session within its setting, from 1.
   */
  session: number;
  /**
   * exp of the Hodges-Lehmann median of logRatios.
   */
  estimate: number;
  /**
   * Quads that it aimed at; fewer were timed where its time was up.
   */
  plannedQuads: number;
  /**
   * ln(baseline / arm) of each quad, in the order of timing.
   *
   * @minItems 1
   *
   * Items: Of one quad.
   */
  logRatios: [number, ...number[]];
  /**
   * Samples of these quads whose logits were compared, bit for bit, with the verified ones: all of them.
   */
  checkedOutputs: number;
  /**
   * Whether the warm-up ended because successive medians agreed within 1 %.
   */
  settled: boolean;
}
/**
 * One form loaded twice and timed against itself: the truth is 1.
 */
export interface NullControl {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  resolution: Resolution;
  /**
   * The form that was loaded twice.
   */
  arm: Arm;
  /**
   * Latency of the baseline over latency of the arm: exp of the mean over sessions of their Hodges-Lehmann medians.
   */
  estimate: number;
  /**
   * Lower end of the interval: t over sessions. Null where there is one session only.
   */
  low: number | null;
  /**
   * Upper end of the interval; null where low is.
   */
  high: number | null;
  /**
   * Level of the interval, over all looks at which the sessions might have stopped.
   */
  confidence: number;
  /**
   * Sessions whose ratio was more than 1 % off.
   */
  strayed: number;
  /**
   * Whether those are more than a third: the machine is too noisy to be trusted.
   */
  noisy: boolean;
  /**
   * One for each session, in the order of timing.
   *
   * @minItems 1
   */
  sessions: [SessionRatio, ...SessionRatio[]];
}
/**
 * Geometric mean of the speed-ups of several networks in one setting.
 */
export interface Suite {
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  /**
   * The arm that the other is held against.
   */
  baseline: Arm;
  /**
   * The arm whose gain is asked for.
   */
  arm: Arm;
  /**
   * The networks that it is over.
   *
   * @minItems 2
   *
   * Items: Name of a network.
   */
  models: [string, string, ...string[]];
  /**
   * Geometric mean of their estimates.
   */
  estimate: number;
  /**
   * Lower end of its interval: t with Welch and Satterthwaite's degrees of freedom. Null where a network has one session only.
   */
  low: number | null;
  /**
   * Upper end of the interval; null where low is.
   */
  high: number | null;
  /**
   * Level of the interval, over all looks at which the sessions might have stopped.
   */
  confidence: number;
}
/**
 * One arm of one network with several streams at once: processes that infer one after another, each on its own.
 */
export interface Throughput {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  resolution: Resolution;
  /**
   * What was run.
   */
  arm: Arm;
  /**
   * Streams at the same time.
   */
  streams: number;
  /**
   * Time of the stream that inferred longest; each ends the inference that it has begun.
   */
  seconds: number;
  /**
   * Of all streams together.
   */
  inferences: number;
  /**
   * Sum over the streams of batch times inferences over its own time.
   */
  imagesPerSecond: number;
  /**
   * Median time of one inference, of all streams.
   */
  latencyMs: number;
  /**
   * 95 % quantile of the same.
   */
  p95Ms: number;
  /**
   * Streams whose last logits were compared, bit for bit, with the verified ones: all of them.
   */
  checkedOutputs: number;
}
/**
 * Where the time of one inference goes.
 */
export interface Profile {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  resolution: Resolution;
  /**
   * What was profiled.
   */
  arm: Arm;
  /**
   * Inferences that each time is the median of.
   */
  inferences: number;
  /**
   * Sum of the nodes' times: with the profiler's own cost, so above the latency.
   */
  totalMs: number;
  /**
   * What the machine reaches in a large float32 matrix product on ONNX Runtime with as many threads, in 10^9 operations a second, multiply and add counted as two; null where it was not measured.
   */
  peakGflops: number | null;
  /**
   * In the order of execution, as the engine runs them.
   */
  nodes: ProfileNode[];
}
/**
 * One step of an engine.
 */
export interface ProfileNode {
  /**
   * Name of the network's node, or what the engine calls a step of its own.
   */
  name: string;
  /**
   * What it computes, in the engine's terms.
   */
  op: string;
  /**
   * Median over the inferences.
   */
  milliseconds: number;
  /**
   * Of totalMs.
   */
  share: number;
  /**
   * Its multiply-accumulates for the whole batch; null where it has none, or is no node of the network.
   */
  macs: number | null;
  /**
   * Twice its multiply-accumulates over its time, in 10^9 a second; null where macs is.
   */
  gflops: number | null;
  /**
   * gflops over peakGflops; null where either is.
   */
  peakShare: number | null;
}
/**
 * A network of the run.
 */
export interface NetworkRow {
  /**
   * Name of the network.
   */
  model: string;
  resolution: Resolution;
  /**
   * Classes that it tells apart.
   */
  classes: number;
  /**
   * Hash of the weights that were timed: SHA-256 over the train form's tensors in the order of their keys, float32, little-endian.
   */
  weightsSha256: string;
}
/**
 * A network that was verified and then not timed, or not profiled, in a setting.
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
   * Threads of one inference, as the engine says.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  /**
   * What was left out; its timing where this is absent.
   */
  stage?: 'timing' | 'profile';
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
   * macs, and 2 for each element that a BatchNorm puts out.
   */
  macsWithNorms: number;
  /**
   * What fvcore calls flops: macs, 2 for each element that a BatchNorm puts out, 1 for each that adaptive_avg_pool2d takes in; null where no PyTorch code of the form exists.
   */
  fvcore: number | null;
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
  counting:
    'parameters' | 'buffers' | 'macs' | 'macsWithNorms' | 'fvcore' | 'activations' | 'initialisers' | 'weightBytes';
}
/**
 * A published figure, and what is counted.
 */
export interface FigureRow {
  /**
   * Name of the network.
   */
  model: string;
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
   * The figure as a plain number.
   */
  value: number;
  /**
   * The form that a reader takes it for.
   */
  assumed: string;
  /**
   * What that form really counts.
   */
  assumedCount: number;
  /**
   * Every form and way of counting that gives the figure, rounded to its printed decimals.
   */
  fits: FormCount[];
  /**
   * The count nearest to the figure, whether it fits or not.
   */
  nearest: FormCount;
}
/**
 * A count of one form.
 */
export interface FormCount {
  /**
   * What a sentence calls the form.
   */
  form: string;
  /**
   * The column of the audit that it is of.
   */
  counting: string;
  /**
   * The exact count.
   */
  count: number;
}
/**
 * A published accuracy of a network.
 */
export interface AccuracyRow {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Where it was published, and of which training.
   */
  source: string;
  /**
   * Per cent of the validation images whose first class is right.
   */
  top1: number;
}
/**
 * What `fuseproof faults` planted, and which tier saw it.
 */
export interface KillMatrixReport {
  /**
   * Seed of the first draw.
   */
  seed: number;
  /**
   * Draws for each place and network.
   */
  draws: number;
  /**
   * Faults of which no draw survived.
   */
  killed: number;
  /**
   * The columns, in the order of the tiers.
   *
   * Items: A tier.
   */
  tiers: string[];
  /**
   * The rows.
   */
  faults: FaultReportRow[];
}
/**
 * One known mistake.
 */
export interface FaultReportRow {
  /**
   * Its short name.
   */
  id: string;
  /**
   * What is wrong.
   */
  title: string;
  /**
   * Faults of a kind.
   */
  group: string;
  /**
   * Whether every draw was seen by every tier that its nature calls for.
   */
  killed: boolean;
  /**
   * Whether a check of the logits on freshly initialised weights passes all the same: on every network, on some, on none, or not asked.
   */
  hidden: 'all' | 'some' | 'none' | 'not asked';
  /**
   * What each tier said; a tier that was not asked is left out.
   */
  kills: KillCell[];
}
/**
 * One tier on one fault.
 */
export interface KillCell {
  /**
   * Name of the tier.
   */
  tier: string;
  /**
   * Whether the fault's nature calls for the tier.
   */
  calledFor: boolean;
  /**
   * Draws that count.
   */
  draws: number;
  /**
   * Those that the tier saw.
   */
  killed: number;
  /**
   * Decades from the bound to the fault where they are fewest; null where there is no distance to a bound.
   */
  margin: number | null;
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
  /**
   * Threads that the engine says it used.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
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
  /**
   * In the tiers that have a bound: each fused region and each kept node, at the element that comes nearest to its bound; absent in reports of older versions.
   */
  regions?: RegionRow[];
}
/**
 * One region against its bound.
 */
export interface RegionRow {
  /**
   * The deploy node that the region ends in.
   */
  region: string;
  /**
   * Its place among all regions, from the input to the logits, from 0.
   */
  place: number;
  /**
   * |actual - expected| of that element.
   */
  error: number;
  /**
   * What rounding alone can make of it: gamma_K * S.
   */
  bound: number;
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
  stage: 'verification' | 'timing' | 'throughput' | 'profile';
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
  plan: Plan;
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
 * What the run aimed at.
 */
export interface Plan {
  /**
   * Numbers of sessions after which a setting may stop.
   *
   * @minItems 1
   *
   * Items: One look.
   */
  looks: [number, ...number[]];
  /**
   * Half-width of the interval, on the log scale, at which it stops.
   */
  halfWidth: number;
  /**
   * Quads of each pair of arms in one session, where the time allows it.
   */
  quads: number;
  /**
   * What a sample is filled up to with inferences.
   */
  sampleMs: number;
  /**
   * Time budget of all sessions.
   */
  seconds: number;
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
  /**
   * What the engine does to a graph by itself before it runs it, in its own terms; none where it runs the graph as it stands.
   */
  optimisation: string;
  /**
   * Whether an interface to a GPU is served by a CPU: its times say nothing of a GPU.
   */
  software: boolean;
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
