import { basename } from 'node:path';
import type { Engine, EngineOptions } from '../engines/engine.ts';
import { type AbsentEngine, openAvailable } from '../engines/index.ts';
import { type DeployForm, deployForms } from '../fused/forms.ts';
import { type Fusion, roundWeights } from '../fused/fuse.ts';
import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import { formatShape, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { buildNetwork, type Model } from '../reference/config.ts';
import { checkWeights } from '../weights/check.ts';
import { withoutWrapper } from '../weights/naming.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { readSafetensors } from '../weights/safetensors.ts';
import type { Size } from './options.ts';

/** What a user may say about the network to work on. */
export interface SubjectOptions {
  readonly batch?: number;
  readonly size?: Size;
  readonly seed?: number;
  /** Train-form state dict, a safetensors file. */
  readonly weights?: string;
  /** Safetensors file with a tensor `input` [N, C, H, W]. */
  readonly input?: string;
}

/** A network with weights and an input, checked against each other. */
export interface Subject {
  readonly model: Model;
  readonly reference: Network;
  /** Of the reference network. */
  readonly weights: Weights;
  /** As given: an engine takes it rounded to float32. */
  readonly input: Tensor;
  readonly seed: number;
}

/** The seed of every generated weight and input, unless another is given. */
export const DEFAULT_SEED = 1;

/**
 * Builds the network in the size of the input file, or as asked; reads its weights, or generates them.
 * @throws InputError where a file, the weights or the size does not fit the network
 */
export async function loadSubject(model: Model, options: SubjectOptions): Promise<Subject> {
  const seed = options.seed ?? DEFAULT_SEED;
  const given = options.input === undefined ? undefined : await readInput(options.input);
  const size = given === undefined ? chosenSize(model, options) : sizeOf(given.shape, options);
  const reference = buildNetwork(model.config, size, model.name);
  const expected = reference.nodes.find(({ name }) => name === reference.inputs[0])!.shape;
  const input = given ?? randomInput(expected, seed);
  if (input.shape[1] !== expected[1]) {
    throw new InputError(
      `${options.input}: input has the shape ${formatShape(input.shape)}, but ${model.name} takes ${formatShape(expected)}`,
    );
  }
  return { model, reference, weights: await loadWeights(reference, options.weights, seed), input, seed };
}

async function loadWeights(reference: Network, path: string | undefined, seed: number): Promise<Weights> {
  if (path === undefined) return randomWeights(reference, seed);
  const weights = withoutWrapper(await readSafetensors(path));
  checkWeights(reference, weights, basename(path));
  return weights;
}

/**
 * The network's deploy forms: the one of this name, or all.
 * @throws InputError where the network has no form of this name
 */
export function chosenForms(reference: Network, name: string | undefined): readonly DeployForm[] {
  const forms = deployForms(reference);
  const chosen = forms.filter((form) => name === undefined || form.name === name);
  if (chosen.length === 0) {
    const names = forms.map((form) => form.name).join(', ');
    throw new InputError(`${reference.name} has no form ${name}; its deploy forms are: ${names}`);
  }
  return chosen;
}

/** The deploy form's weights as somebody stored them, in float32. */
export async function loadDeployWeights(
  fusion: Fusion,
  path: string,
  tell: (line: string) => void,
): Promise<Weights<Float32Array>> {
  const weights = withoutWrapper(await readSafetensors(path));
  checkWeights(fusion.network, weights, basename(path));
  if ([...weights.values()].some(({ data }) => data instanceof Float64Array)) {
    tell(`${basename(path)} holds float64 weights; they are compared as rounded to float32`);
  }
  return roundWeights(weights);
}

async function readInput(path: string): Promise<Tensor> {
  const tensor = (await readSafetensors(path)).get('input');
  if (tensor === undefined) throw new InputError(`${path}: has no tensor named input; it needs one, [N, C, H, W]`);
  if (tensor.shape.length !== 4) {
    throw new InputError(`${path}: input has the shape ${formatShape(tensor.shape)}; [N, C, H, W] is needed`);
  }
  return tensor;
}

function chosenSize(model: Model, { batch = 1, size }: SubjectOptions) {
  const { height = model.resolution, width = model.resolution } = size ?? {};
  return { batch, height, width };
}

function sizeOf(shape: Shape, { batch, size }: SubjectOptions) {
  if (batch !== undefined || size !== undefined) {
    throw new InputError('the input file decides the batch and the size; leave --batch and --size out');
  }
  const [n = 0, , height = 0, width = 0] = shape;
  return { batch: n, height, width };
}

/** Opens the engines asked for, or all that are here; tells of each absent one in a line. */
export async function openEngines(
  names: readonly string[] | undefined,
  options: EngineOptions,
  tell: (line: string) => void,
): Promise<readonly Engine[]> {
  const { engines, absent } = await openAvailable(names, options);
  for (const engine of absent) tell(absentLine(engine));
  return engines;
}

/** Opens the engines asked for; where none are, those of `usual` that are here, and tells of the others. */
export async function openDefaultEngines(
  names: readonly string[] | undefined,
  usual: readonly string[],
  options: EngineOptions,
  tell: (line: string) => void,
): Promise<readonly Engine[]> {
  if (names !== undefined) return openEngines(names, options, tell);
  const { engines, absent } = await openAvailable(undefined, options, usual);
  for (const engine of absent) tell(absentLine(engine));
  return engines;
}

export function absentLine({ name, reason, fix }: AbsentEngine): string {
  return `${name} is not here: ${reason}. ${fix}`;
}
