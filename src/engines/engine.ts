import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import type { Precision } from '../network/precision.ts';
import type { Tensor, Weights } from '../network/tensor.ts';

export type { Precision };

/** Named values fed to a network: one float32 tensor per `input` node. */
export type EngineInputs = ReadonlyMap<string, Tensor<Float32Array>>;

/** What really runs: said by the runtime itself, not assumed from the package's name. */
export interface EngineInfo {
  readonly name: string;
  /** Version of the runtime's package, and of the native library where it says one. */
  readonly version: string;
  /** The device actually used, e.g. `CPU (WebAssembly SIMD)`. */
  readonly device: string;
  readonly threads: number;
  /** What it does to a graph by itself before it runs it, in its own terms; absent where it runs the graph as it stands. */
  readonly optimisation?: string;
  /** Set where an interface to a GPU is served by a CPU: its times say nothing of a GPU. */
  readonly software?: true;
  /** What its arithmetic promises; undefined where it can promise nothing, so that no result of it can be judged. */
  readonly precision: Precision | undefined;
}

/** A network whose weights have been uploaded. Running it uploads and rebuilds nothing but the input. */
export interface LoadedNetwork {
  /** Computes the network's output and reads it back. */
  run(inputs: EngineInputs): Promise<Tensor<Float32Array>>;
  /** Frees the weights. */
  dispose(): Promise<void>;
}

/** One step of an engine, in its own terms, timed. */
export interface StepTimes {
  /** Name of the network's node, with what the engine puts behind it; or of a step that the engine added. */
  readonly name: string;
  /** What it computes, as the engine calls it. */
  readonly op: string;
  /** One for each inference. */
  readonly milliseconds: readonly number[];
}

export interface Engine {
  readonly info: EngineInfo;
  /**
   * @throws UnsupportedOp where the engine refuses a node by design
   */
  load(network: Network, weights: Weights): Promise<LoadedNetwork>;
  /** Tensors that the runtime holds now, or undefined where it does not count them. */
  liveTensors(): number | undefined;
  /**
   * Times each step of so many inferences, after one that is not counted; steps in the order of execution. Absent where
   * the engine cannot say.
   */
  profile?(network: Network, weights: Weights, inputs: EngineInputs, inferences: number): Promise<readonly StepTimes[]>;
}

export interface EngineOptions {
  /** Threads to use; undefined is the engine's default, which it then states in its info. */
  readonly threads?: number;
  /** Whether the engine may rewrite graphs by itself, as its users run it; true by default. */
  readonly optimise?: boolean;
}

/** How to find one engine. A new engine is one file that exports one of these, and a line in `index.ts`. */
export interface EngineProvider {
  readonly name: string;
  /** One line for `--help` and `doctor`. */
  readonly summary: string;
  /** @throws EngineUnavailable where it is not here, or would silently run elsewhere */
  open(options: EngineOptions): Promise<Engine>;
}

/** The engine is not here. Says why in one line, and the one line that would mend it. */
export class EngineUnavailable extends Error {
  override readonly name = 'EngineUnavailable';
  readonly fix: string;

  constructor(reason: string, fix: string) {
    super(reason);
    this.fix = fix;
  }
}

/** The engine is here, but its library starts once in a process and runs in this one otherwise; a process of its own can have it. */
export class TakenInProcess extends EngineUnavailable {}

/** The engine has no way to compute this node as defined. */
export class UnsupportedOp extends Error {
  override readonly name = 'UnsupportedOp';
}

/** The most that a command line takes. */
export const MOST_THREADS = 1024;

/**
 * @throws InputError where they are not a whole number of at least 1
 */
export function checkThreads(threads: number, engine: string): void {
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw new InputError(`threads ${threads} for ${engine}; a whole number of at least 1 is needed`);
  }
}
