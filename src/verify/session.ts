import type { Engine } from '../engines/engine.ts';
import type { Fusion } from '../fused/fuse.ts';
import type { Workspace } from '../interpreters/workspace.ts';
import type { Shape, Tensor, Weights } from '../network/tensor.ts';
import type { DeployWeights } from './deploy-weights.ts';
import type { Finding, Ledger, Tier } from './findings.ts';

export interface VerifyRequest {
  readonly fusion: Fusion;
  /** Name of the deploy form, for the report. */
  readonly form?: string;
  /** Of the reference network, checked against it. */
  readonly weights: Weights;
  /** The deploy weights as stored, checked against the deploy network; our own fused ones, rounded once, by default. */
  readonly deployWeights?: Weights<Float32Array>;
  /** For the network's input node. */
  readonly input: Tensor<Float32Array>;
  readonly engines: readonly Engine[];
  /** Makes a random tensor of unit variance for a probe of this shape. */
  readonly probe: (shape: Shape, name: string) => Tensor<Float32Array>;
  /** Only this deploy node, for a replay; the exact and the network tier are left out. */
  readonly only?: string;
  /** Only these tiers; all by default. The canaries always run. */
  readonly tiers?: readonly Tier[];
  /** A small network of the same make, for the exact tier; the fusion itself by default, where it is small enough. */
  readonly miniature?: Fusion;
  /** Of the values that the exact and the dyadic tier make up; 1 by default. */
  readonly seed?: number;
  /** Told of every comparison of a piece, in the order they are made; the result keeps those that do not pass. */
  readonly onFinding?: (finding: Finding) => void;
  /** Told before each piece and each whole network. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** A verification under way. */
export interface Session extends VerifyRequest {
  /** Hold the values of one piece at a time. */
  readonly arrays: Workspace;
  readonly ledger: Ledger;
  readonly wants: (tier: Tier) => boolean;
  readonly deployed: DeployWeights;
  /** The reference weights as an engine takes them. */
  readonly rounded: Weights<Float32Array>;
  /** Per deploy node: the most roundings on the way to one of its fused weights. */
  readonly roundings: ReadonlyMap<string, number>;
  /** What underflow adds to S: the largest of all arithmetics here, so that they share it. */
  readonly floor: number;
  magnitudes?: ReadonlyMap<string, ArrayLike<number>>;
}
