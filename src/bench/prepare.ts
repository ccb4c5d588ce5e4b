import { type DeployForm, deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuseAndRound } from '../fused/fuse.ts';
import type { Network } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildMiniature, buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import { randomInput, randomWeights } from '../weights/random.ts';

/**
 * What is timed of a network: the train form with the engine's own graph optimisation off (reference-raw), the train form
 * as the engine optimises it, or a deploy form.
 */
export type Arm = 'reference-raw' | 'reference' | DeployForm['name'];

/**
 * Two arms that are timed against each other: how many times faster than the baseline is the arm? Where both are the
 * same, that one is loaded twice: the null control.
 */
export interface ArmPair {
  readonly baseline: Arm;
  readonly arm: Arm;
}

/** The part that an arm plays in its pair. */
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
 * The network of one arm.
 * @throws Error where the network has no such form
 */
export function prepareForm(prepared: PreparedModel, arm: Arm): PreparedForm {
  if (arm === 'reference' || arm === 'reference-raw') return prepared.reference;
  const form = prepared.deployForms.find(({ name }) => name === arm);
  if (form === undefined) throw new Error(`${prepared.name} has no ${arm} form`);
  const { network, weights } = prepareDeployForm(prepared, form);
  return { network, weights };
}

export function isNull({ baseline, arm }: ArmPair): boolean {
  return baseline === arm;
}

/**
 * What is timed of a network on an engine: its complete deploy form against the train form, raw and as the engine
 * optimises it, against every other deploy form, and against itself.
 * @param optimises whether the engine rewrites graphs by itself, so that the raw train form is another arm
 */
export function pairsOf(forms: PreparedModel['deployForms'], optimises: boolean): readonly ArmPair[] {
  const arm = 'deploy';
  const raw = optimises ? (['reference-raw'] as const) : [];
  const baselines = [...raw, 'reference' as const, ...forms.map(({ name }) => name)];
  return baselines.map((baseline) => ({ baseline, arm }));
}

/** In the order in which they are shown. */
const ARMS: readonly Arm[] = ['reference-raw', 'reference', 'deploy-official', 'deploy'];

/** The arms of these pairs. */
export function armsOf(pairs: readonly ArmPair[]): readonly Arm[] {
  return ARMS.filter((each) => pairs.some(({ baseline, arm }) => each === baseline || each === arm));
}

/** The arms of one session, and the input for all. */
export interface PreparedArms {
  readonly forms: ReadonlyMap<Arm, PreparedForm>;
  readonly input: Tensor<Float32Array>; // [N, C, H, W]
}

/** Builds these arms of a network, and no other. */
export function prepareArms(spec: ModelSpec, arms: readonly Arm[]): PreparedArms {
  const prepared = prepareModel(spec);
  return { forms: new Map(arms.map((arm) => [arm, prepareForm(prepared, arm)])), input: prepared.input };
}
