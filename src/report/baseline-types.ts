/** Generated from schema/baseline.schema.json by `npm run schema`: change that file, then run it. */

/**
 * What later runs are held against (`fuseproof bench --baseline`).
 */
export interface Baseline {
  /**
   * Version of this format.
   */
  baselineVersion: 1;
  /**
   * When it was last written, ISO 8601.
   */
  date: string;
  /**
   * Processor that the ratios are of.
   */
  cpu: string;
  /**
   * Ratios, to be reached but for noise.
   */
  speedups: BaselineSpeedup[];
  /**
   * Exact counts, to be equal.
   */
  counts: BaselineCounts[];
}
/**
 * One ratio.
 */
export interface BaselineSpeedup {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the engine.
   */
  engine: string;
  /**
   * Threads of one inference.
   */
  threads: number;
  /**
   * Images in one inference.
   */
  batch: number;
  /**
   * Height and width of the input, as HxW.
   */
  size: string;
  /**
   * The arm that the other is held against.
   */
  baseline: string;
  /**
   * The arm whose gain is asked for.
   */
  arm: string;
  /**
   * Latency of the one over latency of the other.
   */
  estimate: number;
}
/**
 * Those of one form.
 */
export interface BaselineCounts {
  /**
   * Name of the network.
   */
  model: string;
  /**
   * Name of the form.
   */
  form: string;
  /**
   * Classification heads.
   */
  heads: number;
  /**
   * Height and width of the input, as HxW.
   */
  size: string;
  /**
   * Elements of PyTorch's parameters().
   */
  parameters: number;
  /**
   * Elements of the running statistics.
   */
  buffers: number;
  /**
   * Multiply-accumulates.
   */
  macs: number;
  /**
   * Elements put out.
   */
  activations: number;
  /**
   * Elements of an ONNX export.
   */
  initialisers: number;
  /**
   * Operations.
   */
  nodes: number;
}
