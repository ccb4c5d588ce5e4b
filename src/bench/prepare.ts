import { type DeployForm, deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuseAndRound } from '../fused/fuse.ts';
import type { Network } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildMiniature, buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import { randomInput, randomWeights } from '../weights/random.ts';

/** A form of a network that is timed: the train form (reference), or a deploy form. */
export type Arm = 'reference' | DeployForm['name'];

/** Two forms that are timed against each other: how many times faster than the baseline is the arm? */
export interface ArmPair {
  readonly baseline: Arm;
  readonly arm: Arm;
}

/** The part that a form plays in its pair. */
export type Role = keyof ArmPair;

/** All that decides a network, its weights and its input: every process that has it makes the same bits. */
export interface ModelSpec {
  readonly model: Model;
  readonly size: InputSize;
  readonly seed: number;
}

/** A form that an engine can load. */
export interface PreparedForm {
  readonly network: Network;
  readonly weights: Weights<Float32Array>;
}

/** A network's train form with its weights and an input; deploy forms are made of it one at a time, to hold little memory. */
export interface PreparedModel {
  readonly name: string;
  readonly seed: number;
  readonly reference: PreparedForm;
  /** A small network of the same make, for the exact tier. */
  readonly miniature: Network;
  readonly deployForms: readonly DeployForm[];
  readonly input: Tensor<Float32Array>; // [N, C, H, W]
}

/**
 * Builds the reference network with its portable weights and input.
 * @throws InputError where the size does not fit the network
 */
export function prepareModel({ model, size, seed }: ModelSpec): PreparedModel {
  const network = buildNetwork(model.config, size, model.name);
  const input = network.nodes.find(({ name }) => name === network.inputs[0])!;
  return {
    name: model.name,
    seed,
    reference: { network, weights: randomWeights(network, seed) },
    miniature: buildMiniature(model.config),
    deployForms: deployForms(network),
    input: randomInput(input.shape, seed),
  };
}

/** Fuses a prepared network into a deploy form of its own. */
export function prepareDeployForm({ reference }: PreparedModel, form: DeployForm): PreparedForm & { fusion: Fusion } {
  const fusion = fuseTo(form, reference.network);
  return { fusion, network: fusion.network, weights: fuseAndRound(fusion, reference.weights) };
}

/**
 * One form of a prepared network.
 * @throws Error where the network has no such form
 */
export function prepareForm(prepared: PreparedModel, arm: Arm): PreparedForm {
  if (arm === 'reference') return prepared.reference;
  const form = prepared.deployForms.find(({ name }) => name === arm);
  if (form === undefined) throw new Error(`${prepared.name} has no ${arm} form`);
  const { network, weights } = prepareDeployForm(prepared, form);
  return { network, weights };
}

/** What is timed of a network: its complete deploy form against the train form, then against every other deploy form. */
export function pairsOf(forms: PreparedModel['deployForms']): readonly ArmPair[] {
  const arm = 'deploy';
  const others = forms.map(({ name }) => name).filter((name) => name !== arm);
  return ['reference' as const, ...others].map((baseline) => ({ baseline, arm }));
}

/** The two forms of one session, and the input for both. */
export interface PreparedPair {
  readonly forms: Readonly<Record<Role, PreparedForm>>;
  readonly input: Tensor<Float32Array>; // [N, C, H, W]
}

/** Builds two forms of a network, and holds no other. */
export function preparePair(spec: ModelSpec, { baseline, arm }: ArmPair): PreparedPair {
  const prepared = prepareModel(spec);
  return {
    forms: { baseline: prepareForm(prepared, baseline), arm: prepareForm(prepared, arm) },
    input: prepared.input,
  };
}
