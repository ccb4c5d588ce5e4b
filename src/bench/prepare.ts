import { type Fusion, fuse, fuseWeights, roundWeights } from '../fused/fuse.ts';
import type { Network } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/repvit.ts';
import { randomInput, randomWeights } from '../weights/random.ts';

/** The two forms of a network that are compared. */
export type Arm = 'reference' | 'deploy';

/** All that decides a network, its weights and its input: every process that has it makes the same bits. */
export interface ModelSpec {
  readonly model: Model;
  readonly size: InputSize;
  readonly seed: number;
}

/** A network in both forms, with weights and one input for both. */
export interface PreparedModel {
  readonly name: string;
  readonly seed: number;
  readonly fusion: Fusion;
  readonly networks: Readonly<Record<Arm, Network>>;
  readonly weights: Readonly<Record<Arm, Weights<Float32Array>>>;
  readonly input: Tensor<Float32Array>; // [N, C, H, W]
}

/**
 * Builds the reference network with its portable weights and input, and fuses it.
 * @throws InputError where the size does not fit the network
 */
export function prepareModel({ model, size, seed }: ModelSpec): PreparedModel {
  const reference = buildNetwork(model.config, size, model.name);
  const fusion = fuse(reference);
  const weights = randomWeights(reference, seed);
  return {
    name: model.name,
    seed,
    fusion,
    networks: { reference, deploy: fusion.network },
    weights: { reference: weights, deploy: roundWeights(fuseWeights(fusion, weights)) },
    input: randomInput([size.batch, model.config.in_chans, size.height, size.width], seed),
  };
}
